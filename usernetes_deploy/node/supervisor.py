"""The supervisor of a node: started by rootlesskit inside the user namespace, it starts everything else and watches it.

It sits on the host's network; components run in the node's own (detached) network namespace unless they need a foot
outside. At rest it sleeps in ``waitpid`` and on one socket; nothing polls.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api, client_context
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network import backend_named, resolvers
from usernetes_deploy.network.base import Context
from usernetes_deploy.network.expose import Exposer, Place
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.network.ports import RootlesskitPorts
from usernetes_deploy.network.watch import Watch
from usernetes_deploy.node import addresses, control, control_plane, devices, filesystem, kubelet, proxy, runtime
from usernetes_deploy.node.config import CONTAINERD_SOCKET, PKI, RUN, NodeConfig
from usernetes_deploy.node.native import NativeStarter
from usernetes_deploy.node.process import Component, wait_until

API_PATIENCE = 120.0
HOUSEKEEPING = 120.0  # seconds between looks at the size of the logs


class Supervisor:
    """One node's components and the order they start in."""

    def __init__(self, config: NodeConfig, netns: Path) -> None:
        self.config = config
        self.netns = netns
        self.began = time.time()
        self.components: dict[str, Component] = {}
        self.phases: dict[str, float] = {}
        self.problems: list[str] = []
        self.snapshotter = "overlayfs"
        self.backend = backend_named(config.network["backend"])
        self.context = self.network_context()
        self._lock = threading.Lock()
        self._network_lock = threading.Lock()
        self._where: tuple[str, Mapping[str, str]] | None = None  # the addresses in use, when any has changed
        self._lost_address = ""
        self._exposed_changed = threading.Event()
        self._watches: list[Watch] = []
        self._images = threading.Event()
        self._manifests = threading.Event()

    def nr(self, argv: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a short command in the node's network namespace to its end."""
        full = ["nsenter", f"--net={self.netns}", *argv]
        return subprocess.run(full, input=stdin, capture_output=True, check=False)

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        in_netns: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: Callable[[], bytes] = lambda: b"",
        prepare: Callable[[], None] | None = None,
        started: Callable[[subprocess.Popen[bytes]], None] | None = None,
        timer_slack: float = 0.0,
    ) -> Component:
        """Start a component and keep it running; returns at once."""
        component = Component(
            name,
            ["nsenter", f"--net={self.netns}", *argv] if in_netns else list(argv),
            log=self.config.logs / f"{name}.log",
            env=env,
            stdin=stdin,
            prepare=prepare,
            started=started,
            changed=self.write_status,
            timer_slack=timer_slack,
        )
        self.components[name] = component
        component.start()
        return component

    def network_context(self) -> Context:
        """What this node lends its network backend."""

        def spawn(name: str, argv: Sequence[str], stdin: Callable[[], bytes]) -> None:
            self.spawn(name, argv, in_netns=False, stdin=stdin)

        return Context(
            nr=self.nr,
            spawn=spawn,
            folder=self.config.root,
            run_folder=RUN,
            binaries=Path(self.config.bundle) / "bin",
            cni_conf=self.config.root / "cni",
            netns=str(self.netns),
            api_outside=self.config.api_outside,
            restart=lambda name, why: self.components[name].restart(why),
        )

    # the node -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring the node up and stay; ends only when the process is killed."""
        try:
            self.bring_up()
        except Exception as error:
            self.problems.append(str(error))
            self.write_status()
            raise
        while True:
            time.sleep(HOUSEKEEPING)
            for component in list(self.components.values()):
                component.rotate()

    def bring_up(self) -> None:
        """Start everything that this node is made of; returns before all of it runs."""
        config = self.config
        raise_limits()
        filesystem.prepare(config)
        filesystem.write_files(config)
        control.serve(config.root / "control.sock", {"status": self._answer_status, "network": self._change_network})
        NativeStarter(str(RUN / "native.sock"), config.binary("containerd-shim-runc-v2")).start()
        self.mark("prepared")
        if config.control_plane:
            self._start_control_plane()
        self._apply_network()
        self.mark("network")
        self.snapshotter = runtime.snapshotter(config)
        runtime.write_registries(config)
        containerd_config = runtime.write_config(config, config.root / "cni", self.snapshotter)
        containerd = self.spawn(
            "containerd",
            [config.binary("containerd"), f"--config={containerd_config}"],
            env=runtime.environment(config),
            prepare=lambda: Path(CONTAINERD_SOCKET).unlink(missing_ok=True),
            started=self.containerd_started,
            timer_slack=runtime.TIMER_SLACK,
        )
        proxy.write_config(config)
        kubelet.write_config(config)
        self.spawn(
            "kubelet",
            kubelet.argv(config),
            env={**kubelet.environment(), "PATH": f"{runtime.HELPERS}:{os.environ['PATH']}"},
            prepare=lambda: self._before_kubelet(containerd),
            started=self._tell_storage,
            timer_slack=kubelet.TIMER_SLACK,
        )
        if config.devices:
            self.problems += devices.problems(config.devices)
            self.spawn(
                "devices", [config.binary("usernetes-devices")], stdin=lambda: json.dumps(config.devices).encode()
            )
        self.spawn("kube-proxy", proxy.argv(config), env=proxy.environment(), prepare=self._wait_for_api)
        threading.Thread(target=self._expose, name="expose", daemon=True).start()
        if config.interface != "lo":
            threading.Thread(target=self._follow_addresses, name="addresses", daemon=True).start()
        self.mark("started")

    def _start_control_plane(self) -> None:
        """All four at once: each tries again on its own until what it needs is there."""
        config = self.config
        self.nr(["ip", "link", "set", "lo", "up"])
        env = control_plane.environment()
        (config.root / "etcd").mkdir(mode=0o700, exist_ok=True)
        # An API server that finds no etcd asks again only after a second; etcd itself listens after a fraction of that.
        etcd = self.spawn(
            "etcd",
            control_plane.etcd(config),
            env=env,
            started=self._etcd_started,
            timer_slack=control_plane.TIMER_SLACK,
        )
        self.spawn(
            "kube-apiserver",
            control_plane.apiserver(config),
            env=env,
            prepare=lambda: wait_until(etcd.ready.is_set, 60, "etcd listening"),
            started=self._api_started,
            timer_slack=control_plane.TIMER_SLACK,
        )
        self.spawn(
            "kube-controller-manager",
            control_plane.controller_manager(config),
            env=env,
            prepare=self._wait_for_api,
            timer_slack=control_plane.CONTROLLERS_SLACK,
        )
        self.spawn("kube-scheduler", control_plane.scheduler(config), env=env, prepare=self._wait_for_api)
        (RUN / "Corefile").write_text(control_plane.corefile(config))
        self.spawn("coredns", control_plane.coredns(config), env=env, prepare=self._wait_for_manifests)
        self.spawn(
            "local-path-provisioner", control_plane.local_path(config), env=env, prepare=self._wait_for_manifests
        )
        if config.metrics:
            self.spawn(
                "metrics-server", control_plane.metrics_server(config), env=env, prepare=self._wait_for_manifests
            )

    def _etcd_started(self, process: subprocess.Popen[bytes]) -> None:
        def listening() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                return probe.connect_ex(("127.0.0.1", control_plane.ETCD_PORT)) == 0

        wait_until(lambda: control.in_netns(self.netns, listening), 60, "listening", lambda: process.poll() is None)

    def containerd_started(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until containerd listens; the first time the node's own images are loaded."""
        wait_until(Path(CONTAINERD_SOCKET).exists, 30, "listening", lambda: process.poll() is None)
        self.mark("containerd")
        if not self._images.is_set():
            threads = [
                threading.Thread(target=self._load_image, args=(archive,))
                for archive in runtime.base_images(self.config)
            ]
            for thread in threads:
                thread.start()
            threads[0].join()  # the pause image: without it no pod starts
            self._images.set()
            self.mark("images")

    def _load_image(self, archive: str) -> None:
        try:
            runtime.load_image(self.config, archive, self.snapshotter)
        except UsernetesError as error:
            self.problems.append(str(error))
            self.write_status()

    def _before_kubelet(self, containerd: Component) -> None:
        wait_until(containerd.ready.is_set, 60, "containerd ready")
        self._wait_for_api(serving=True)

    def _tell_storage(self, process: subprocess.Popen[bytes]) -> None:
        """Complete the Node's status as soon as its kubelet has made it."""
        api, pause = self._api(), 0.1
        path, body = f"/api/v1/nodes/{self.config.name}/status", kubelet.storage(self.config)
        while process.poll() is None:
            try:
                api.request("PATCH", path, body, "application/merge-patch+json")
                break
            except UsernetesError:
                time.sleep(pause)
                pause = min(pause * 1.3, 5.0)
        api.close()

    def _api(self) -> Api:
        """The API as this node's kubelet, over the host's network.

        Not through the mesh: a first packet to a peer that is not up yet would be tried again only after five seconds.
        """
        return Api(self.config.api_outside, identity("kubelet-client"), timeout=5)

    def _wait_for_api(self, *, serving: bool = False) -> None:
        """Ask until the API is ready; less and less often, for a thousand nodes ask at once.

        `serving`: until it answers for our Node. /readyz waits for roles that are written a second later, of which
        neither a kubelet nor the cluster's administrator needs any.
        """
        api, pause, ends = self._api(), 0.05, time.monotonic() + API_PATIENCE
        path = f"/api/v1/nodes/{self.config.name}"
        try:
            while not (api.serves(path) if serving else api.ready()):
                if time.monotonic() > ends:
                    raise UsernetesError(f"the API at {api.server} is not ready after {API_PATIENCE:g} s")
                time.sleep(pause)
                pause = min(pause * 1.15, 1.0)
        finally:
            api.close()

    def _expose(self) -> None:
        """Publish Services and hostPorts on the host for as long as the node lives."""
        config = self.config
        self._wait_for_api()
        context = identity("admin" if config.control_plane else "kubelet-client")
        changed = self._exposed_changed
        pods = Watch(
            config.api_outside, context, f"/api/v1/pods?fieldSelector=spec.nodeName={config.name}", changed.set
        )
        services = Watch(config.api_outside, context, "/api/v1/services", changed.set)
        watched = [pods, services] if config.publishes else [pods]
        exposer = Exposer(
            Place(config.name, config.node_ip, config.publishes, config.control_plane),
            RootlesskitPorts(str(self.netns.parent / "api.sock")),
            Api(config.api_outside, context, timeout=10),
            lambda: (list(services.objects.values()), list(pods.objects.values())),
            changed,
        )
        self._watches += watched
        for watch in watched:
            watch.start()
        exposer.run()

    def _apply_network(self) -> None:
        """The first time; the host's address may be another than when the node was made, after a restart."""
        config = self.config
        if config.interface != "lo" and not config.control_plane:
            now = addresses.nearest(addresses.of_interface(config.interface), config.host_address)
            self._where = now, {}
            part = self.backend.moved(config.network, now, {}) or config.network
            self.config = config._replace(network=dict(part))
        self.backend.apply(self.config.network, self.context)

    def _follow_addresses(self) -> None:
        """Notice that this host's address changes, tell the other nodes, and hear of theirs."""
        config = self.config
        with contextlib.suppress(UsernetesError):  # then the watch goes on asking
            self._wait_for_api()
        # Not as the kubelet, which may see no Node but its own.
        context = identity("kube-proxy")
        changed = threading.Event()
        moved = Watch(config.api_outside, context, f"/api/v1/nodes?labelSelector={addresses.LABEL}", changed.set)

        def listed() -> dict[str, str]:
            found = [item["metadata"] for item in moved.objects.values()]
            return {metadata["name"]: metadata["labels"][addresses.LABEL] for metadata in found}

        can_follow = self.backend.moved(config.network, config.host_address, {}) is not None
        following = addresses.Addresses(
            config.name,
            config.interface,
            config.host_address,
            changed,
            follows=can_follow and not config.control_plane,
            tell=self._tell_address,
            change=self._addresses_changed,
            lost=self._address_lost,
            listed=listed,
        )
        self._watches.append(moved)
        moved.start()
        following.start()

    def _tell_address(self, address: str) -> None:
        # What our connections to the API began with is no address of this host any more.
        for watch in self._watches:
            watch.again()
        api = self._api()
        try:
            body = {"metadata": {"labels": {addresses.LABEL: address}}}
            api.request("PATCH", f"/api/v1/nodes/{self.config.name}", body, "application/merge-patch+json")
        finally:
            api.close()

    def _addresses_changed(self, own: str, peers: Mapping[str, str]) -> None:
        with self._network_lock:
            part = self.backend.moved(self.config.network, own, peers)
            if part is not None:
                self._where = own, peers
                self._use_network(part)
        if self.config.control_plane and peers:
            admin = Api(self.config.api_outside, identity("admin"))
            path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
            admin.request("PATCH", path, {"data": dict(peers)}, "application/merge-patch+json")
            admin.close()
            self._exposed_changed.set()  # the status of Services names the hosts

    def _address_lost(self, words: str) -> None:
        if words != self._lost_address:
            self.problems = [problem for problem in self.problems if problem != self._lost_address]
            self.problems += [words] if words else []
            self._lost_address = words
            self.write_status()

    def _api_started(self, process: subprocess.Popen[bytes]) -> None:
        self._wait_for_api(serving=True)
        if not self._manifests.is_set():
            admin = Api(self.config.api_outside, identity("admin"), timeout=30)
            for manifest in self.config.manifests:
                _persistently(lambda manifest=manifest: admin.apply(manifest), lambda: process.poll() is None)  # type: ignore[misc]
            admin.close()
            self._manifests.set()
            self.mark("manifests")
        self._wait_for_api()
        self.mark("api ready")

    def _wait_for_manifests(self) -> None:
        if not self._manifests.wait(API_PATIENCE):
            raise UsernetesError(f"the cluster's own objects are not applied after {API_PATIENCE:g} s")

    # what is said of it -------------------------------------------------------------------------

    def mark(self, phase: str) -> None:
        """Write down that the node has come so far, and when."""
        self.phases[phase] = round(time.time() - self.began, 3)
        self.write_status()

    def _answer_status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """What is known, and what only asking tells: counters, DNS, images, limits."""
        config = self.config
        name = f"kubernetes.default.svc.{config.dns_domain}"
        images = self.nr(
            [config.binary("ctr"), "--namespace=k8s.io", f"--address={CONTAINERD_SOCKET}", "images", "ls", "-q"]
        )
        return {
            **self.snapshot(),
            "network": dict(self.backend.status(config.network, self.context)),
            "dns": {
                **control.in_netns(self.netns, lambda: control.dns_answer(config.dns_ip, name)),
                "outside": self._outside() if config.control_plane else None,
            },
            "images": sorted(
                line for line in images.stdout.decode().split() if "@" not in line and not line.startswith("sha256:")
            ),
            "limits": {
                name: resource.getrlimit(number)[0]
                for name, number in (
                    ("memlock", resource.RLIMIT_MEMLOCK),
                    ("nofile", resource.RLIMIT_NOFILE),
                    ("stack", resource.RLIMIT_STACK),
                )
            },
        }

    def _outside(self) -> dict[str, list[str]]:
        """The resolvers that the cluster's DNS asks for other names, and which of them do not answer."""
        asked = resolvers.upstreams(self.config.nameservers)
        return {"asked": asked, "silent": control.in_netns(self.netns, lambda: resolvers.silent(asked))}

    def _change_network(self, request: Mapping[str, Any]) -> None:
        """Take another network part (peers come and go) without a restart; the private key stays."""
        with self._network_lock:
            part = {**request["network"], "privateKey": self.config.network["privateKey"]}
            # The caller may know less than we about who moved.
            self._use_network((self.backend.moved(part, *self._where) if self._where else None) or part)

    def _use_network(self, part: Mapping[str, Any]) -> None:
        self.backend.apply(part, self.context)
        self.config = self.config._replace(network=dict(part))

    def snapshot(self) -> dict[str, Any]:
        """What the supervisor knows without asking anybody."""
        return {
            "schema": 1,
            "name": self.config.name,
            "cluster": self.config.cluster,
            "controlPlane": self.config.control_plane,
            "nodeIP": self.config.node_ip,
            "hostAddress": self._where[0] if self._where else self.config.host_address,
            "began": round(self.began, 3),
            "phases": self.phases,
            "snapshotter": self.snapshotter,
            "cgroups": self.config.cgroups,
            "outer": self.config.outer,
            "problems": self.problems,
            "components": [component.snapshot() for component in list(self.components.values())],
        }

    def write_status(self) -> None:
        """Write status.json, whole or not at all; for those who cannot ask the node any more."""
        with self._lock:
            document = self.snapshot()
            target = self.config.root / "status.json"
            draft = target.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk must not end the node
                draft.write_text(json.dumps(document))
                draft.replace(target)


def identity(name: str) -> ssl.SSLContext:
    """What this node shows the API as `name`, and whom it believes there."""
    return client_context(f"{PKI}/ca.crt", f"{PKI}/{name}.crt", f"{PKI}/{name}.key")


def _persistently(call: Callable[[], Any], alive: Callable[[], bool]) -> None:
    """An API that has just become ready may still refuse a kind of its own for a moment."""
    pause = 0.05
    while True:
        try:
            call()
        except UsernetesError:
            if pause > 2 or not alive():
                raise
            time.sleep(pause)
            pause *= 2
        else:
            return


def raise_limits() -> None:
    """Locked memory, open files and stack up to the hard limit: pods inherit them, and UCX needs the first."""
    for number in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK):
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (hard, hard))


def main() -> None:
    """Read the blob on stdin and be the node."""
    config = NodeConfig.from_json(sys.stdin.buffer.read())
    os.umask(0o022)  # a batch system's may be stricter; pods that are not root must read what is mounted for them
    os.environ["PATH"] = (
        f"{config.bundle}/bin:{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    )
    netns = Path(os.environ["ROOTLESSKIT_STATE_DIR"]) / "netns"
    Supervisor(config, netns).run()
