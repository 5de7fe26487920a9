"""What the phases of a change share: who carries it out, the record, and what each phase hands on to those after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from usernetes_deploy.api import Api
from usernetes_deploy.bundle import Bundle
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import spec as specs
from usernetes_deploy.cluster.addressing import NetworkPlan
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.membership import Member, Membership, State
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.cluster.savefile import Saved, Volume
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import BundleError, Secret, UsernetesError
from usernetes_deploy.facts import HostFacts
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.node.config import NodeConfig

T = TypeVar("T")


class Step(Generic[T]):
    """What one phase hands on to those after it; asked for too early, it names the phase that makes it.

    >>> class Errand:
    ...     found = Step[str]("look for it")
    >>> errand = Errand()
    >>> errand.found
    Traceback (most recent call last):
    usernetes_deploy.errors.UsernetesError: `found` is not there before the phase: look for it
    >>> errand.found = "a key"
    >>> errand.found
    'a key'
    """

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name it is known by."""
        self._name = name

    @overload
    def __get__(self, change: None, owner: type) -> Step[T]: ...

    @overload
    def __get__(self, change: object, owner: type) -> T: ...

    def __get__(self, change: object | None, owner: type) -> Step[T] | T:
        """What the phase made; raises `UsernetesError` when that is still to come."""
        if change is None:
            return self
        try:
            made: T = change.__dict__[f"_{self._name}"]
        except KeyError:
            raise UsernetesError(f"`{self._name}` is not there before the phase: {self._phase}") from None
        return made

    def __set__(self, change: object, value: T) -> None:
        """Hand it on."""
        change.__dict__[f"_{self._name}"] = value


@dataclass(kw_only=True)
class Change:
    """One change of a cluster, whichever: who carries it out, where it is written down, and who is told."""

    launcher: Launcher
    state: ClusterState
    report: Report
    record = Step[Record]("connect the hosts")

    @property
    def members(self) -> Membership:
        """The members, with the state each is in."""
        return self.record.members

    def save(self, phase: str = "") -> None:
        """Write down what is known now; `phase`: starting or growing, or "" for what the members say of the whole.

        Raises `UsernetesError` where it cannot be written.
        """
        self.record.launcher = dict(self.launcher.to_state())
        self.record.phases = {**self.record.phases, **self.report.seconds}
        self.record.phase = phase or self.members.phase()
        self.state.write(self.record.document())

    def api(self, timeout: float = 10) -> Api:
        """The API as the administrator, with the credential in the state directory."""
        return self.state.api(timeout)


@dataclass(frozen=True)
class Found:
    """The hosts that are to become nodes, and the ports to try on each. `add` has those that come, not those there."""

    hosts: Sequence[Host]
    ports: Mapping[str, Sequence[int]]


@dataclass(kw_only=True)
class BringUp(Change):
    """One `up` or `add`: asked for by the fields, carried further by each step."""

    spec: ClusterSpec
    found_bundle: Bundle | None  # `check` goes no further than the facts, and does without one
    wait: bool = True
    find: Callable[[], Sequence[Host]] = tuple  # the hosts that `add` is to bring in
    recorded: Callable[[], object] = bool  # called when `down` has something to go by
    time_left: float | None = None  # seconds until the batch job ends, where that is known
    before: Sequence[Member] = ()  # members that left or were given up, and whose hosts come again
    identities: Identities | None = None  # those of a cluster that was there before and goes on
    saved: Saved | None = None  # the cluster that is resumed
    since: float = 0.0  # seconds since the epoch: what Nodes said before is of an earlier life of the cluster
    under_way: set[str] = field(default_factory=set)  # hosts whose start was begun and has not returned
    found = Step[Found]("connect the hosts")
    facts = Step[Mapping[str, HostFacts]]("probe the hosts")
    plan = Step[NetworkPlan]("plan the network")
    nodes = Step[Sequence[NodeConfig]]("issue credentials")

    @property
    def bundle(self) -> Bundle:
        """The bundle of this cluster."""
        if self.found_bundle is None:
            raise BundleError("this change was begun without a bundle", remedy="usernetes bundle build")
        return self.found_bundle

    @property
    def hosts(self) -> Sequence[Host]:
        """The hosts that are to become nodes."""
        return self.found.hosts

    @property
    def newcomers(self) -> list[Member]:
        """The members that come with this change and were not given up."""
        names = {host.name for host in self.hosts}
        return [member for member in self.members if member.name in names and member.state is not State.GIVEN_UP]

    @property
    def others(self) -> list[Member]:
        """The nodes that were there before this change."""
        names = {host.name for host in self.hosts}
        return [member for member in self.members.present() if member.name not in names]

    @property
    def control_plane(self) -> str | None:
        """The name of the host that is to carry the control plane; None when it is there already."""
        names = (host.name for host in self.hosts)
        return next((name for name in names if name in self.members and self.members[name].index == 0), None)

    @property
    def deadline(self) -> float:
        """Seconds that any one step on all hosts may take."""
        return float(self.spec.wait_seconds)

    def save_begun(self) -> None:
        """Write down what is known now, of a cluster that is still starting or growing."""
        self.save("growing" if self.others else "starting")


@dataclass(kw_only=True)
class Saving(Change):
    """One `save`: to which file, sealed with which key, and which volumes (none, all, or NAMESPACE/NAME,...)."""

    target: Path
    key: Secret
    wanted: str
    revision = Step[int]("save the objects")
    counted = Step[int]("save the objects")
    documents = Step[Mapping[str, Any]]("save the objects")
    volumes = Step[Sequence[Volume]]("save the volumes")
    size = Step[int]("write the archive")  # bytes


@dataclass(kw_only=True)
class Departure(Change):
    """One `remove`, or one `down`, where all leave. `names` is who leaves.

    With `force` nothing waits for a node. `keep` is a folder here for the nodes' logs.
    """

    names: Sequence[str] = ()
    drain_seconds: int = 120
    force: bool = False
    keep: Path | None = None
    gone = Step[Mapping[str, str]]("find the nodes")  # those whose node has ended or is silent, and why
    silent = Step[set[str]]("find the nodes")  # those that did not answer, and those that could not be stopped

    @property
    def spec(self) -> ClusterSpec:
        """The spec that the cluster was made from."""
        return specs.load(self.record.spec, str(self.state.directory / "cluster.json"))

    @property
    def leaving(self) -> list[Member]:
        """The members on their way out."""
        return [member for member in self.members if member.state is State.LEAVING]
