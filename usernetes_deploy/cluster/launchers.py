"""Which launcher a spec or a record means: the one table of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Launcher, Wish


class Kind(Protocol):
    """The class of a launcher, as it is made from a wish or from a record."""

    name: str
    shares_host: bool
    ends_with_host: bool

    def asked(self, wish: Wish, program: Path) -> Launcher:
        """The launcher that a spec or its flags ask for."""

    def from_state(self, state: Mapping[str, Any], program: Path) -> Launcher:
        """The launcher of a recorded cluster, as its `to_state` described it."""


def _local() -> Kind:
    from usernetes_deploy.launch.local import LocalLauncher

    return LocalLauncher


def _ssh() -> Kind:
    """Imported when it is used: paramiko takes longer to load than all the rest of many a command."""
    from usernetes_deploy.launch.ssh.launcher import SshLauncher

    return SshLauncher


def _flux() -> Kind:
    from usernetes_deploy.launch.flux.launcher import FluxLauncher

    return FluxLauncher


def _slurm() -> Kind:
    from usernetes_deploy.launch.slurm.launcher import SlurmLauncher

    return SlurmLauncher


ANOTHER_VERSION = "take the cluster down with the version of usernetes that made it"
KINDS: Mapping[str, Callable[[], Kind]] = {"local": _local, "ssh": _ssh, "flux": _flux, "slurm": _slurm}


def kind(name: str) -> Kind:
    """The launcher of this name. Raises `UsageError`.

    >>> kind("local").shares_host, kind("flux").shares_host
    (True, False)
    """
    if name not in KINDS:
        raise UsageError(f"no launcher is called {name!r}; known: {', '.join(KINDS)}")
    return KINDS[name]()


def launcher_for(spec: ClusterSpec, program: Path, *, limit: str = "", accept_new: bool = False) -> Launcher:
    """The launcher that a spec asks for; `program` is the node program on this machine.

    For SSH, `limit` chooses from an Ansible inventory, and `accept_new` trusts host keys never seen before.
    """
    return kind(spec.launcher).asked(Wish(spec.nodes, spec.hosts, limit, accept_new), program)


def ssh_launcher(source: str, program: Path, *, accept_new: bool = False) -> Launcher:
    """A launcher for a host list without a cluster. Raises `UsageError`."""
    return _ssh().asked(Wish(None, (source,) if source else (), accept_new=accept_new), program)


def launcher_from_state(state: Mapping[str, Any], program: Path) -> Launcher:
    """The launcher of a recorded cluster, as its `to_state` described it. Raises `UsernetesError` for another's."""
    name = str(state.get("launcher"))
    if name not in KINDS:
        why = f"no launcher is called {name!r}; known: {', '.join(KINDS)}"
        raise UsernetesError(why, tried="read the cluster's record", remedy=ANOTHER_VERSION)
    try:
        return kind(name).from_state(state, program)
    except (KeyError, TypeError, ValueError) as error:
        why = f"the {name} launcher is not as `up` wrote it: {error!r}"
        raise UsernetesError(why, tried="read the cluster's record", remedy=ANOTHER_VERSION) from error


def shares_host(state: Mapping[str, Any]) -> bool:
    """Whether all nodes of a recorded cluster are on the driver's own machine."""
    name = str(state.get("launcher"))
    return name in KINDS and kind(name).shares_host


def ends_with_host(name: str) -> bool:
    """Whether nodes of this launcher end with their job, and their folders with them.

    >>> ends_with_host("slurm"), ends_with_host("local")
    (True, False)
    """
    return kind(name).ends_with_host
