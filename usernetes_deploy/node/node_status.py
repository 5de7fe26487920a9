"""What a node says of itself: status.json, and the answer to those who ask."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.network import resolvers
from usernetes_deploy.node import control, room
from usernetes_deploy.node.config import CONTAINERD_SOCKET, NodeConfig
from usernetes_deploy.node.network_part import NetworkPart
from usernetes_deploy.node.process import Component
from usernetes_deploy.threads import Threads

LIMITS = (
    ("memlock", resource.RLIMIT_MEMLOCK),
    ("nofile", resource.RLIMIT_NOFILE),
    ("stack", resource.RLIMIT_STACK),
)


class NodeStatus:
    """Everything that is known of a running node; `write` keeps status.json up to date with it.

    `phases` are seconds since `began` (seconds since the epoch), by what was reached.
    """

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.began = time.time()
        self.phases: dict[str, float] = {}
        self.components: dict[str, Component] = {}
        self.threads = Threads(self.write)
        self.snapshotter = "overlayfs"
        self.host_address: Callable[[], str] = lambda: config.host_address
        self._problems: list[str] = []
        self._lost_address = ""
        self._lock = threading.Lock()

    def mark(self, phase: str) -> None:
        """Write down that the node has come so far, and when."""
        self.phases[phase] = round(time.time() - self.began, 3)
        self.write()

    def problem(self, *words: str) -> None:
        """What keeps the node from being well, for good."""
        self._problems += words
        self.write()

    def address_lost(self, words: str) -> None:
        """The host's address is gone; "" when it is back."""
        if words != self._lost_address:
            self._lost_address = words
            self.write()

    def snapshot(self) -> dict[str, Any]:
        """What is known without asking anybody."""
        config = self.config
        return {
            "schema": 1,
            "name": config.name,
            "cluster": config.cluster,
            "controlPlane": config.control_plane,
            "nodeIP": config.node_ip,
            "hostAddress": self.host_address(),
            "began": round(self.began, 3),
            "phases": self.phases,
            "snapshotter": self.snapshotter,
            "cgroups": config.cgroups,
            "outer": config.outer,
            "problems": [*self._problems, *filter(None, [self._lost_address])],
            "components": [component.snapshot() for component in list(self.components.values())],
            "threads": self.threads.snapshot(),
        }

    def write(self) -> None:
        """Write status.json, whole or not at all; for those who cannot ask the node any more."""
        with self._lock:
            document = self.snapshot()
            target = self.config.root / "status.json"
            draft = target.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk must not end the node
                draft.write_text(json.dumps(document))
                draft.replace(target)


class Answers:
    """What only asking tells: counters, DNS, images, limits. `nr` runs a command in the node's network namespace."""

    def __init__(
        self,
        known: NodeStatus,
        network: NetworkPart,
        netns: Path,
        nr: Callable[[Sequence[str]], subprocess.CompletedProcess[bytes]],
    ) -> None:
        self._known = known
        self._network = network
        self._netns = netns
        self._nr = nr

    def status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """All of it, beside what is known anyway."""
        config = self._known.config
        name = f"kubernetes.default.svc.{config.dns_domain}"
        return {
            **self._known.snapshot(),
            "network": self._network.status(),
            "dns": {
                **control.in_netns(self._netns, lambda: control.dns_answer(config.dns_ip, name)),
                "outside": self._outside() if config.control_plane else None,
            },
            "images": self._images(),
            "disk": room.disk(config),
            "limits": {name: resource.getrlimit(number)[0] for name, number in LIMITS},
        }

    def _images(self) -> list[str]:
        ctr = [self._known.config.binary("ctr"), "--namespace=k8s.io", f"--address={CONTAINERD_SOCKET}"]
        lines = self._nr([*ctr, "images", "ls", "-q"]).stdout.decode().split()
        return sorted(line for line in lines if "@" not in line and not line.startswith("sha256:"))

    def _outside(self) -> dict[str, list[str]]:
        """The resolvers that the cluster's DNS asks for other names, and which of them do not answer."""
        asked = resolvers.upstreams(self._known.config.nameservers)
        return {"asked": asked, "silent": control.in_netns(self._netns, lambda: resolvers.silent(asked))}
