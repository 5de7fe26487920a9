"""The supervisor of a node: started by rootlesskit inside the user namespace, it starts everything else and watches it.

It sits on the host's network; components run in the node's own (detached) network namespace unless they need a foot
outside. At rest it sleeps in ``waitpid`` and on one socket; nothing polls.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network import resolvers
from usernetes_deploy.network.base import Context
from usernetes_deploy.node import cgroups, control, control_plane, devices, filesystem, kubelet, proxy, runtime
from usernetes_deploy.node.cluster_api import PATIENCE, as_kubelet, identity, wait_for_api
from usernetes_deploy.node.config import CONTAINERD_SOCKET, RUN, NodeConfig
from usernetes_deploy.node.following import Following
from usernetes_deploy.node.native import NativeStarter
from usernetes_deploy.node.network_part import NetworkPart
from usernetes_deploy.node.process import Component
from usernetes_deploy.node.publishing import Publishing
from usernetes_deploy.waiting import retry, until

MOST_FILES = 1 << 20
SOON = 0.02  # seconds between looks for what takes moments
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
        self.network = NetworkPart(config, self.network_context())
        self._lock = threading.Lock()
        self._lost_address = ""
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
        prepare: Callable[[], object] | None = None,
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
        if config.cgroups == "delegated":
            cgroups.show()
        filesystem.prepare(config)
        filesystem.write_files(config)
        control.serve(config.root / "control.sock", {"status": self._answer_status, "network": self._change_network})
        NativeStarter(str(RUN / "native.sock"), config.binary("containerd-shim-runc-v2")).start()
        self.mark("prepared")
        if config.control_plane:
            self._start_control_plane()
        self.network.begin()
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
        publishing = Publishing(config, self.netns.parent / "api.sock")
        publishing.start()
        if config.interface != "lo":
            Following(config, self.network, publishing, self._address_lost).start()
        self.mark("started")

    def _start_control_plane(self) -> None:
        """All four at once: each tries again on its own until what it needs is there."""
        config = self.config
        self.nr(["ip", "link", "set", "lo", "up"])
        env = control_plane.environment(len(os.sched_getaffinity(0)))
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
            prepare=lambda: until(etcd.ready.is_set, 60, "etcd listens", pause=SOON),
            started=self._api_started,
            timer_slack=control_plane.TIMER_SLACK,
        )
        for name, argv in (
            ("kube-controller-manager", control_plane.controller_manager(config)),
            ("kube-scheduler", control_plane.scheduler(config)),
        ):
            self.spawn(name, argv, env=env, prepare=self._wait_for_api, timer_slack=control_plane.TIMER_SLACK)
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

        look = lambda: control.in_netns(self.netns, listening)  # noqa: E731
        until(look, 60, "etcd listens", pause=SOON, longest=0.1, alive=lambda: process.poll() is None)

    def containerd_started(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until containerd listens; the first time the node's own images are loaded."""
        look = Path(CONTAINERD_SOCKET).exists
        until(look, 30, "containerd listens", pause=SOON, longest=0.1, alive=lambda: process.poll() is None)
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
        until(containerd.ready.is_set, 60, "containerd is ready", pause=SOON, longest=0.1)
        wait_for_api(self.config, serving=True)

    def _wait_for_api(self) -> None:
        wait_for_api(self.config)

    def _tell_storage(self, process: subprocess.Popen[bytes]) -> None:
        """Complete the Node's status as soon as its kubelet has made it."""
        if process.poll() is not None:
            return
        api = as_kubelet(self.config)
        path, body = f"/api/v1/nodes/{self.config.name}/status", kubelet.storage(self.config)
        with contextlib.suppress(UsernetesError):  # its kubelet has ended
            retry(
                lambda: api.request("PATCH", path, body, "application/merge-patch+json"),
                math.inf,
                pause=0.1,
                longest=5.0,
                alive=lambda: process.poll() is None,
            )
        api.close()

    def _api_started(self, process: subprocess.Popen[bytes]) -> None:
        wait_for_api(self.config, serving=True)
        if not self._manifests.is_set():
            admin = Api(self.config.api_outside, identity("admin"), timeout=30)
            for manifest in self.config.manifests:
                self._apply(admin, manifest, process)
            admin.close()
            self._manifests.set()
            self.mark("manifests")
        self._wait_for_api()
        self.mark("api ready")

    def _apply(self, admin: Api, manifest: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        """An API that has just become ready may still refuse a kind of its own for a moment."""
        retry(lambda: admin.apply(manifest), 10, pause=0.05, longest=2.0, alive=lambda: process.poll() is None)

    def _wait_for_manifests(self) -> None:
        if not self._manifests.wait(PATIENCE):
            raise UsernetesError(f"the cluster's own objects are not applied after {PATIENCE:g} s")

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
            "network": self.network.status(),
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
        self.network.replace(request["network"])

    def _address_lost(self, words: str) -> None:
        if words != self._lost_address:
            self.problems = [problem for problem in self.problems if problem != self._lost_address]
            self.problems += [words] if words else []
            self._lost_address = words
            self.write_status()

    def snapshot(self) -> dict[str, Any]:
        """What the supervisor knows without asking anybody."""
        return {
            "schema": 1,
            "name": self.config.name,
            "cluster": self.config.cluster,
            "controlPlane": self.config.control_plane,
            "nodeIP": self.config.node_ip,
            "hostAddress": self.network.host_address,
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


def raise_limits() -> None:
    """Locked memory, open files and stack up to the hard limit: pods inherit them, and UCX needs the first.

    Of open files a million at most: programs that go through all that there might be (old MySQL, RabbitMQ, yum) would
    take minutes and gigabytes over the thousand millions that systemd allows.
    """
    for number in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK):
        hard = resource.getrlimit(number)[1]
        if number == resource.RLIMIT_NOFILE and (hard == resource.RLIM_INFINITY or hard > MOST_FILES):
            hard = MOST_FILES
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
