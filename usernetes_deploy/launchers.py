"""Which launcher a spec or a state directory means."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Launcher
from usernetes_deploy.launch.flux import FluxLauncher
from usernetes_deploy.launch.hostlist import Target, checked
from usernetes_deploy.launch.inventory import read_hosts
from usernetes_deploy.launch.local import LocalLauncher
from usernetes_deploy.launch.ssh import SshLauncher
from usernetes_deploy.spec import ClusterSpec


def launcher_for(spec: ClusterSpec, program: Path, *, limit: str = "", accept_new: bool = False) -> Launcher:
    """The launcher that a spec asks for; `program` is the node program on this machine.

    For SSH, `limit` chooses from an Ansible inventory, and `accept_new` trusts host keys never seen before.
    """
    if spec.launcher == "local":
        return LocalLauncher(spec.nodes, program)
    if spec.launcher == "ssh":
        return SshLauncher(ssh_targets(spec.hosts, limit), program, accept_new=accept_new)
    if spec.launcher == "flux":
        return FluxLauncher(program, count=spec.nodes)
    raise UsageError(f"no launcher is called {spec.launcher!r}")


@functools.lru_cache(maxsize=4)
def ssh_targets(sources: tuple[str, ...], limit: str = "") -> tuple[Target, ...]:
    """The hosts of all `sources`: lists, files, inventories. Raises `UsageError`, also for hosts named twice."""
    hosts = [target for source in sources for target in read_hosts(source, limit)]
    return tuple(checked(hosts, ", ".join(sources)))


def launcher_from_state(state: Mapping[str, Any], program: Path) -> Launcher:
    """The launcher of a recorded cluster, as its `to_state` described it."""
    kind = state.get("launcher")
    if kind == "local":
        return LocalLauncher.from_state(state, program)
    if kind == "ssh":
        return SshLauncher.from_state(state, program)
    if kind == "flux":
        return FluxLauncher.from_state(state, program)
    raise UsernetesError(f"no launcher is called {kind!r}", tried="read the cluster's state")
