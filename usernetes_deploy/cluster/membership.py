"""The members of a cluster: who they are, and where the node of each is on its host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from usernetes_deploy.launch.base import Host


@dataclass(frozen=True)
class Place:
    """Where a node goes on its host: decided by `check_nodes` from the facts."""

    address: str
    interface: str
    why: str
    mtu: int
    base: Path  # the node-local folder that holds node folders and the staged bundle
    node_dir: Path
    outer: str
    cgroups: str  # delegated | none
    manager: str  # where the user's systemd listens, when it has to be asked for a scope: a delegated cgroup; else ""
    nameservers: tuple[str, ...]
    mesh_port: int
    api_port: int | None


@dataclass(frozen=True)
class Member:
    """One node of a cluster; `index` 0 carries the control plane."""

    name: str
    index: int
    host: Host
    place: Place
