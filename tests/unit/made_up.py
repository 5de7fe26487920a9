"""A recorded cluster of two simulated nodes, and what they and its API answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import usernetes_deploy
from tests.unit.cluster.made_up import member, recorded
from usernetes_deploy.api import ApiError
from usernetes_deploy.cluster.spec import load
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher

SCHEMA = json.loads((Path(usernetes_deploy.__file__).parent / "cluster" / "schema" / "status.json").read_text())
DNS = {**dict.fromkeys(SCHEMA["$defs"]["dns"]["required"]), "ok": True, "ms": 0.4}
PEER = {"name": "node9", "endpoint": None, "received": 0, "sent": 0}
COMPONENT = {"name": "kubelet", "state": "running", "pid": 7, "restarts": 0, "since": 1.5, "lastExit": None}
COMPONENT |= {"deaths": 0, "lastWords": None}


def node_answer(index: int) -> dict[str, Any]:
    """What a node that is well says of itself."""
    return {
        "keeper": {"pid": 5, "startTime": 6, "alive": True, "restarts": 0, "lastExit": None},
        "node": {
            "nodeIP": f"10.64.0.{index + 1}",
            "problems": [],
            "cgroups": "none",
            "snapshotter": "overlayfs",
            "components": [dict(COMPONENT), {**COMPONENT, "name": "containerd"}],
            "network": {"backend": "mesh", "mtu": 1440, "peers": [{**PEER, "handshakeAge": age} for age in (3, None)]},
            "dns": dict(DNS),
            "images": ["docker.io/library/app:1"] if index == 0 else ["docker.io/library/app:1", "other:2"],
            "limits": {"memlock": -1, "nofile": 1024, "stack": -1},
            "phases": {"prepared": 0.1},
        },
        "log": [],
    }


def node_object(name: str, ready: str = "True") -> dict[str, Any]:
    """A Node of the API."""
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


class FakeApi:
    """Answers from `paths`; everything else is not found."""

    def __init__(self, paths: dict[str, Any]) -> None:
        self.paths = paths
        self.applied: list[dict[str, Any]] = []

    def get(self, path: str) -> Any:
        """The answer of this path, or the error that stands for it."""
        found = self.paths.get(path, ApiError("not found", 404))
        if isinstance(found, Exception):
            raise found
        return found

    def apply(self, manifest: dict[str, Any]) -> None:
        """Remember it."""
        self.applied.append(manifest)

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class MadeUp:
    """The cluster: change `answers` (by node) and `paths` (of the API) to make it ill."""

    state: ClusterState
    launcher: FakeLauncher
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, Any] = field(default_factory=dict)


def make_cluster(root: Path, name: str = "demo", nodes: int = 2) -> MadeUp:
    """Record a cluster below `root` and simulate its nodes."""
    names = [f"node{index}" for index in range(nodes)]
    answers = {node: node_answer(index) for index, node in enumerate(names)}

    def status(host: Host, argv: Sequence[str], _: bytes) -> Completed:
        return Completed(argv, 0, json.dumps(answers[host.name]), "")

    launcher = FakeLauncher(nodes, answers={"status": status})
    state = ClusterState(root, name)
    state.create()
    record = recorded((member(index) for index in range(nodes)), load({"name": name, "nodes": nodes}))
    state.write(replace(record, name=name, phase="running").document())
    paths = {"/readyz": "ok", "/api/v1/nodes": {"items": [node_object(node) for node in names]}}
    return MadeUp(state, launcher, answers, paths)
