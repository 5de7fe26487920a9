"""What the phases of a change share: what was asked for, who carries it out, and what is known so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usernetes_deploy.api import Api
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster.addressing import NetworkPlan
from usernetes_deploy.cluster.membership import Member, Membership, State
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import BundleError, UsernetesError
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.node.config import NodeConfig

if TYPE_CHECKING:
    from usernetes_deploy.bundle import Bundle
    from usernetes_deploy.facts import HostFacts


@dataclass
class BringUp:
    """One `up`. Fields below `report` are filled in by the phases, in the order of the fields."""

    spec: ClusterSpec
    launcher: Launcher
    state: ClusterState
    found_bundle: Bundle | None  # `check` goes no further than the facts, and does without one
    report: Report
    wait: bool = True
    recorded: Callable[[], object] = bool  # called when `down` has something to go by
    created: str = ""  # ISO 8601, UTC
    cluster_id: str = ""
    hosts: Sequence[Host] = ()  # to become nodes; `add` has those that come, not those that are there
    members: Membership = field(default_factory=Membership)
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds of the phases of earlier changes
    candidates: Mapping[str, Sequence[int]] = field(default_factory=dict)  # host -> ports to try
    facts: dict[str, HostFacts] = field(default_factory=dict)
    network: NetworkPlan | None = None
    nodes: list[NodeConfig] = field(default_factory=list)
    under_way: set[str] = field(default_factory=set)  # hosts whose start was begun and has not returned

    @property
    def bundle(self) -> Bundle:
        """The bundle of this cluster."""
        if self.found_bundle is None:
            raise BundleError("this change was begun without a bundle", remedy="usernetes bundle build")
        return self.found_bundle

    @property
    def plan(self) -> NetworkPlan:
        """The network's plan, once it is made."""
        if self.network is None:
            raise UsernetesError("the network is not planned yet", tried=f"change cluster {self.spec.name}")
        return self.network

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

    def api(self, timeout: float = 10) -> Api:
        """The API as the administrator, with the credential in the state directory."""
        return self.state.api(timeout)
