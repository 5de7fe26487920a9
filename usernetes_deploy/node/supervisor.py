"""The supervisor of a node: started by rootlesskit inside the user namespace, it starts everything else and watches it.

It sits on the host's network; components run in the node's own (detached) network namespace unless they need a foot
outside. At rest it sleeps in ``waitpid`` and on one socket; nothing polls.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network.base import NodeContext
from usernetes_deploy.network.policies.enforcer import Enforcer
from usernetes_deploy.node import cgroups, control, devices, filesystem, kubelet, proxy, room, runtime, saved
from usernetes_deploy.node.cluster_api import as_kubelet, wait_for_api
from usernetes_deploy.node.config import CONTAINERD_SOCKET, RUN, NodeConfig
from usernetes_deploy.node.first_node import FirstNode
from usernetes_deploy.node.following import Following
from usernetes_deploy.node.limits import raise_limits
from usernetes_deploy.node.native import NativeStarter
from usernetes_deploy.node.network_part import NetworkPart
from usernetes_deploy.node.node_status import Answers, NodeStatus
from usernetes_deploy.node.process import SOON, Component
from usernetes_deploy.node.publishing import Publishing
from usernetes_deploy.waiting import retry, until

# What reads keys and certificates when it starts; etcd first, for the API server asks it.
READ_CERTIFICATES = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns", "local-path-provisioner"),
    *("metrics-server", "kubelet", "kube-proxy", "flanneld"),
)
HOUSEKEEPING = 120.0  # seconds between looks at the size of the logs


class Supervisor:
    """One node's components and the order they start in."""

    def __init__(self, config: NodeConfig, netns: Path) -> None:
        self.config = config
        self.netns = netns
        self.status = NodeStatus(config)
        self.network = NetworkPart(config, self.network_context())
        self.status.host_address = lambda: self.network.host_address
        self._images = threading.Event()
        self._loads: list[threading.Thread] = []
        self._watching = False  # the kubelet, over what the node runs out of

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
            changed=self.status.write,
            timer_slack=timer_slack,
        )
        self.status.components[name] = component
        component.start()
        return component

    def network_context(self) -> NodeContext:
        """What this node lends its network backend."""

        def spawn(name: str, argv: Sequence[str], stdin: Callable[[], bytes]) -> None:
            self.spawn(name, argv, in_netns=False, stdin=stdin)

        return NodeContext(
            nr=self.nr,
            spawn=spawn,
            folder=self.config.root,
            run_folder=RUN,
            binaries=Path(self.config.bundle) / "bin",
            cni_conf=self.config.root / "cni",
            netns=str(self.netns),
            api_outside=self.config.api_outside,
            restart=lambda name, why: self.status.components[name].restart(why),
            begin=self.status.threads.begin,
        )

    # the node -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring the node up and stay; ends only when the process is killed."""
        threading.excepthook = self._thread_ended
        try:
            self.bring_up()
        except Exception as error:
            self.status.problem(str(error))
            raise
        while True:
            time.sleep(HOUSEKEEPING)
            for component in list(self.status.components.values()):
                component.rotate()

    def bring_up(self) -> None:
        """Start everything that this node is made of; returns before all of it runs."""
        config = self.config
        raise_limits()
        if config.cgroups == "delegated":
            cgroups.show()
        filesystem.prepare(config)
        filesystem.write_files(config)
        begin, answers = self.status.threads.begin, Answers(self.status, self.network, self.netns, self.nr)
        handlers = {"status": answers.status, "network": self._change_network, "renew": self._renew}
        handlers["save"] = lambda request: saved.save(config, self.netns, request)
        control.serve(config.root / control.SUPERVISOR, handlers, begin)
        NativeStarter(str(RUN / "native.sock"), config.binary("containerd-shim-runc-v2")).start(begin)
        self.status.mark("prepared")
        if config.control_plane:
            self.nr(["ip", "link", "set", "lo", "up"])
            FirstNode(config, self.netns, self.status, self.spawn).start()
        self.network.begin()
        self.status.mark("network")
        self.status.snapshotter = runtime.snapshotter(config)
        self._watching = bool(room.short_of(config))
        containerd = self.spawn(
            "containerd",
            [config.binary("containerd"), f"--config={runtime.CONFIG}"],
            env=runtime.environment(config),
            prepare=self._before_containerd,
            started=self.containerd_started,
            timer_slack=runtime.TIMER_SLACK,
        )
        proxy.write_config(config)
        self.spawn(
            "kubelet",
            kubelet.argv(config),
            env={**kubelet.environment(), "PATH": f"{runtime.HELPERS}:{os.environ['PATH']}"},
            prepare=lambda: self._before_kubelet(containerd),
            started=self._tell_storage,
            timer_slack=kubelet.TIMER_SLACK,
        )
        if config.devices:
            self.status.problem(*devices.problems(config.devices))
            self.spawn(
                "devices", [config.binary("usernetes-devices")], stdin=lambda: json.dumps(config.devices).encode()
            )
        self.spawn("kube-proxy", proxy.argv(config), env=proxy.environment(), prepare=lambda: wait_for_api(config))
        if not self._watching:
            begin("room", self._watch_room)
        publishing = Publishing(config, self.netns.parent / "api.sock")
        publishing.start(begin)
        Enforcer(config, self.nr, self.status.problem).start(begin)
        if config.interface != "lo":
            Following(config, self.network, publishing, self.status.address_lost).start(begin)
        self.status.mark("started")

    def containerd_started(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until containerd listens; the first time the node's own images are loaded."""
        look = Path(CONTAINERD_SOCKET).exists
        until(
            look,
            self.config.patience,
            "containerd listens",
            pause=SOON,
            longest=0.1,
            alive=lambda: process.poll() is None,
        )
        self.status.mark("containerd")
        if not self._images.is_set():
            self._loads = [
                threading.Thread(target=self._load_image, args=(archive,))
                for archive in runtime.base_images(self.config)
            ]
            for thread in self._loads:
                thread.start()
            self._loads[0].join()  # the pause image: without it no pod starts
            self._images.set()
            self.status.mark("images")

    def _load_image(self, archive: str) -> None:
        try:
            runtime.load_image(self.config, archive, self.status.snapshotter)
        except Exception as error:  # whatever it is, pods will lack the image
            self.status.problem(str(error))

    def _before_containerd(self) -> None:
        config = self.config
        runtime.write_config(config, config.root / "cni", self.status.snapshotter, watching=self._watching)
        Path(CONTAINERD_SOCKET).unlink(missing_ok=True)

    def _before_kubelet(self, containerd: Component) -> None:
        until(containerd.ready.is_set, self.config.patience, "containerd is ready", pause=SOON, longest=0.1)
        wait_for_api(self.config, serving=True)
        saved.unpack(self.config)
        kubelet.write_config(self.config, room.limits(self.config) if self._watching else None)

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

    def _thread_ended(self, args: threading.ExceptHookArgs) -> None:
        """No thread should come here; one that does is seen at least."""
        name = args.thread.name if args.thread else "a thread"
        self.status.problem(f"{name} has ended: {args.exc_type.__name__}: {args.exc_value}")

    def _watch_room(self) -> None:
        """Until little is left of something: then the kubelet watches it, and has pods go if need be.

        containerd tells it what containers have written. Pods run on while the two are started again.
        """
        while not (short := room.short_of(self.config)):
            time.sleep(room.LOOK)
        self._images.wait()
        for load in self._loads:
            load.join()  # a containerd that is started again would cut them short
        self._watching = True
        for name in ("containerd", "kubelet"):
            self.status.components[name].restart(f"{short}: from now on it watches over that")

    def _change_network(self, request: Mapping[str, Any]) -> None:
        self.network.replace(request["network"])

    def _renew(self, request: Mapping[str, Any]) -> None:
        """Take new keys and certificates, and have those that read them start again; pods run on."""
        self.config.renewed(request)  # for what is wrong with it
        filesystem.write_secrets(request["files"])
        for name in READ_CERTIFICATES:
            if name in self.status.components:
                self.status.components[name].restart("its certificates were renewed")


def main() -> None:
    """Read the blob on stdin and be the node."""
    config = NodeConfig.from_json(sys.stdin.buffer.read())
    os.umask(0o022)  # a batch system's may be stricter; pods that are not root must read what is mounted for them
    os.environ["PATH"] = (
        f"{config.bundle}/bin:{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    )
    netns = Path(os.environ["ROOTLESSKIT_STATE_DIR"]) / "netns"
    Supervisor(config, netns).run()
