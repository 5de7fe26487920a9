"""ADD and REMOVE: a running cluster gets further nodes, or gives some back, under its workload.

An autoscaler would call `add` and `remove` as the command line does; nothing here asks who decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.access.policies.driver import check_size
from usernetes_deploy.access.policies.site import in_force
from usernetes_deploy.bundle import locate
from usernetes_deploy.changes.context import BringUp, Departure
from usernetes_deploy.changes.phase import Phase, Report, run
from usernetes_deploy.cluster import spec as specs
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.membership import Membership, State
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.phases.check_network import CheckNetwork
from usernetes_deploy.phases.check_nodes import CheckNodes
from usernetes_deploy.phases.connect_further import ConnectFurther
from usernetes_deploy.phases.delete_nodes import DeleteNodes
from usernetes_deploy.phases.drain_nodes import DrainNodes
from usernetes_deploy.phases.find_leaving import FindLeaving, follow_addresses
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.record_growth import RecordGrowth
from usernetes_deploy.phases.record_left import RecordLeft
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes
from usernetes_deploy.phases.stop_nodes import StopNodes
from usernetes_deploy.phases.tell_peers import TellPeers
from usernetes_deploy.phases.update_peers import UpdatePeers
from usernetes_deploy.phases.wait_ready import WaitReady

DRAIN_SECONDS = 120

# As UP, but the nodes that are there learn of the new ones before these start.
ADD: Sequence[Phase[BringUp]] = (
    ConnectFurther(),
    ProbeNodes(),
    CheckNodes(),
    RecordGrowth(),
    StageBundle(),
    PlanNetwork(),
    IssueCredentials(),
    UpdatePeers(),
    StartNodes(),
    WaitReady(meanwhile=CheckNetwork.begin),
    CheckNetwork(),
)
REMOVE: Sequence[Phase[Departure]] = (
    FindLeaving(),
    DrainNodes(),
    DeleteNodes(),
    TellPeers(),
    StopNodes(strict=False),
    RecordLeft(),
)


def add(
    state: ClusterState, report: Report, launcher: Launcher, find: Callable[[Launcher], Sequence[Host]]
) -> list[str]:
    """Bring further nodes into a running cluster; returns their names. They stand for nodes that were lost before.

    Raises what the phases raise; then the cluster is as it was.
    """

    def allowed(hosts: Sequence[Host]) -> Sequence[Host]:
        check_further(up.members, up.spec.policies, len(hosts))
        return hosts

    with state.locked():
        record = state.record()
        up = BringUp(
            spec=specs.load(record.spec, str(state.directory / "cluster.json")),
            launcher=launcher,
            state=state,
            found_bundle=locate(Path(record.bundle["root"])),
            report=report,
            find=lambda: allowed(find(launcher)),
        )
        up.record = record
        follow_addresses(up)
        run(ADD, up, report)
        names = [member.name for member in up.newcomers]
        up.members.replace_lost(names)
        up.save()
        return names


def check_further(members: Membership, policies: Sequence[Any], count: int) -> None:
    """Raise `UsageError` where `count` nodes more are not allowed; those that were lost make room for them."""
    there = [member for member in members.present() if member.state is not State.LOST]
    check_size(in_force(policies), len(there) + count)


def remove(
    state: ClusterState,
    report: Report,
    program: Path,
    names: Sequence[str],
    *,
    drain_seconds: int = DRAIN_SECONDS,
    force: bool = False,
) -> None:
    """Drain nodes, end them and forget them: their address and number are free for others.

    A node's keys were nowhere but in its own memory, so with it they are gone; its peers drop its public key, and no
    packet of it is taken any more. With `force` nothing waits for a node: its pods are deleted as they are, and a host
    that does not answer is left for `down`, or for `add` when it comes back. Raises `UsageError` for a name that is no
    node, or the control plane's; without `force` also `UsernetesError` for a node that is gone.
    """
    with state.locked():
        record = state.record()
        launcher = launcher_from_state(record.launcher, program)
        leave = Departure(
            launcher=launcher, state=state, report=report, names=names, drain_seconds=drain_seconds, force=force
        )
        leave.record = record
        try:
            run(REMOVE, leave, report)
        finally:
            launcher.close()
