"""Which launcher a spec or a state directory means."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.launch.flux.launcher import FluxLauncher
from usernetes_deploy.launch.hostlist import Target, checked
from usernetes_deploy.launch.inventory import read_hosts
from usernetes_deploy.launch.local import LocalLauncher

if TYPE_CHECKING:
    from usernetes_deploy.launch.ssh.launcher import SshLauncher


def launcher_for(spec: ClusterSpec, program: Path, *, limit: str = "", accept_new: bool = False) -> Launcher:
    """The launcher that a spec asks for; `program` is the node program on this machine.

    For SSH, `limit` chooses from an Ansible inventory, and `accept_new` trusts host keys never seen before.
    """
    if spec.launcher == "local":
        return LocalLauncher(spec.nodes, program)
    if spec.launcher == "ssh":
        return _ssh()(ssh_targets(spec.hosts, limit), program, accept_new=accept_new)
    if spec.launcher == "flux":
        return FluxLauncher(program, count=spec.nodes)
    raise UsageError(f"no launcher is called {spec.launcher!r}")


def ssh_launcher(source: str, program: Path, *, accept_new: bool = False) -> Launcher:
    """A launcher for a host list without a cluster. Raises `UsageError`."""
    return _ssh()(ssh_targets((source,) if source else ()), program, accept_new=accept_new)


def _ssh() -> type[SshLauncher]:
    """Imported when it is used: paramiko takes longer to load than all the rest of many a command."""
    from usernetes_deploy.launch.ssh.launcher import SshLauncher

    return SshLauncher


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
        return _ssh().from_state(state, program)
    if kind == "flux":
        return FluxLauncher.from_state(state, program)
    raise UsernetesError(f"no launcher is called {kind!r}", tried="read the cluster's state")


def enlarged(
    document: Mapping[str, Any], program: Path, nodes: int | None, hosts: str | None, *, accept_new: bool = False
) -> tuple[Launcher, list[Host]]:
    """The launcher of a recorded cluster as it is with further hosts, and those hosts.

    Raises `UsageError` when the launcher has none to give, or the flag is another launcher's.
    """
    state = document["launcher"]
    taken = {member.name for member in members_of(document).present()}
    if state["launcher"] == "ssh":
        if not hosts:
            raise UsageError("which hosts? A cluster over SSH grows by --hosts LIST")
        old = _ssh().from_state(state, program)
        added = read_hosts(hosts, "")
        names = {target.name for target in added}
        twice = [f"{target.name} ({target.address})" for target in added if target.name in taken]
        if twice:
            raise UsageError(
                f"already names of nodes: {', '.join(twice)}",
                remedy="leave them out, or give another host a `name` of its own in a host file",
            )
        # One that was given up, or removed by force, may come again.
        kept = [target for target in old.targets() if target.name not in names]
        whole = _ssh()([*kept, *added], program, accept_new=accept_new)
        return whole, [host for host in whole.hosts() if host.name in names]
    if hosts:
        raise UsageError(f"--hosts is for the ssh launcher; this cluster was started by {state['launcher']}")
    count = nodes or 1
    if state["launcher"] == "flux":
        launcher = FluxLauncher.from_state(state, program)
        spare = [*launcher.spare_hosts(), *(launcher.held_hosts(state["job"]) if state.get("job") else ())]
        if len(spare) < count:
            raise UsageError(
                f"{count} nodes were asked for, the Flux instance has {len(spare)} that are free",
                remedy="flux batch -N NODES flux-jobs/usernetes-join.sh starts a further job that joins",
            )
        launcher.take(spare[:count])
        return launcher, spare[:count]
    free = (name for name in (f"node{index}" for index in range(len(taken) + count)) if name not in taken)
    chosen = [next(free) for _ in range(count)]
    launcher_local = LocalLauncher.from_state({**state, "count": len(taken) + count}, program)
    return launcher_local, [Host(name, "127.0.0.1", "local") for name in chosen]
