"""What the phases of a change share: what was asked for, who carries it out, and what is known so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from usernetes_deploy.api import Api
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster.addressing import NetworkPlan
from usernetes_deploy.cluster.membership import Member, Place
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
    indices: dict[str, int] = field(default_factory=dict)  # host -> number of its node; 0 carries the control plane
    phase_before: str = "running"  # of the cluster, which is to be as it was when `add` fails
    given_up: Mapping[str, str] = field(default_factory=dict)  # of an earlier change: node -> why
    existing: Sequence[Mapping[str, Any]] = ()  # the nodes of cluster.json that are there already (`add`)
    losses: Sequence[Mapping[str, Any]] = ()  # see `usernetes_deploy.cluster.losses`
    left: Sequence[Mapping[str, Any]] = ()  # nodes removed without an answer: something of them may still be there
    candidates: Mapping[str, Sequence[int]] = field(default_factory=dict)  # host -> ports to try
    facts: dict[str, HostFacts] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    network: NetworkPlan | None = None
    nodes: list[NodeConfig] = field(default_factory=list)
    handles: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    under_way: set[str] = field(default_factory=set)  # hosts whose start was begun and has not returned
    may_run: bool = False  # nodes were told to start and not yet seen to have ended
    missing: dict[str, BaseException] = field(default_factory=dict)  # given up on, within --min-nodes

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
        """The nodes that come, of the hosts that have a place for one."""
        return [
            Member(host.name, self.indices[host.name], host, self.places[host.name])
            for host in self.hosts
            if host.name in self.places
        ]

    @property
    def control_plane(self) -> str | None:
        """The name of the host that is to carry the control plane; None when it is there already."""
        return next((name for name, index in self.indices.items() if index == 0), None)

    @property
    def deadline(self) -> float:
        """Seconds that any one step on all hosts may take."""
        return float(self.spec.wait_seconds)

    def api(self, timeout: float = 10) -> Api:
        """The API as the administrator, with the credential in the state directory."""
        return self.state.api(timeout)
