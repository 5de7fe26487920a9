"""STOP and START: a cluster's nodes end and their folders stay; started again, it is the same cluster.

Keys and certificates were in the nodes' memory alone. They are issued again by the cluster's own authorities, which the
state directory has: so tokens, kubeconfigs and Secrets are as valid as before. etcd's data, images and volumes lie in
the nodes' folders. What went down without a `stop` (the host was rebooted) is started in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from usernetes_deploy.bundle import locate
from usernetes_deploy.changes.bringup import read_files
from usernetes_deploy.changes.context import BringUp, Departure
from usernetes_deploy.changes.phase import Phase, Report, run
from usernetes_deploy.cluster import merging
from usernetes_deploy.cluster import spec as specs
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.membership import NOTHING_THERE, State
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Launcher
from usernetes_deploy.phases.check_network import CheckNetwork
from usernetes_deploy.phases.find_leaving import silence
from usernetes_deploy.phases.find_stopped import FindStopped
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.place_again import PlaceAgain
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_again import StartAgain
from usernetes_deploy.phases.suspend_nodes import EndWhatIsLeft, SuspendNodes
from usernetes_deploy.phases.wait_ready import WaitReady

STOP: Sequence[Phase[Departure]] = (SuspendNodes(),)
START: Sequence[Phase[BringUp]] = (
    FindStopped(),
    EndWhatIsLeft(),
    ProbeNodes(),
    PlaceAgain(),
    StageBundle(),
    PlanNetwork(),
    IssueCredentials(),
    StartAgain(),
    WaitReady(meanwhile=CheckNetwork.begin),
    CheckNetwork(),
)


def stop(state: ClusterState, report: Report, program: Path) -> list[str]:
    """End a cluster's nodes and keep their folders; returns the nodes' names. A stopped one is stopped once more.

    Raises `UsageError` for a cluster that could not be started again, `NodeFailures` for nodes that did not end.
    """
    with state.locked():
        record = state.record()
        launcher = launcher_from_state(record.launcher, program)
        try:
            refuse(record, launcher, spec_of(state, record))
            leave = Departure(launcher=launcher, state=state, report=report)
            leave.record = record
            run(STOP, leave, report)
        finally:
            launcher.close()
        report.line(f"the cluster is stopped; usernetes start --cluster {state.name} brings it back")
        return [member.name for member in record.members.to_stop()]


def start(state: ClusterState, report: Report, program: Path, *, wait: bool = True) -> Path:
    """Bring a stopped cluster back, or one whose nodes are all gone; returns the path of its kubeconfig.

    Raises what the phases raise; then the cluster is stopped, as it was. Raises `UsageError` for a cluster that cannot
    be started again, `UsernetesError` where some of its nodes run and others are gone.
    """
    with state.locked():
        record = state.record()
        spec = spec_of(state, record)
        launcher = launcher_from_state(record.launcher, program)
        try:
            refuse(record, launcher, spec)
            read_files(spec)
            if runs(record, launcher):
                report.line(f"cluster {state.name} runs already")
                return state.kubeconfig
            up = BringUp(
                spec=spec,
                launcher=launcher,
                state=state,
                found_bundle=locate(Path(record.bundle["root"])),
                report=report,
                wait=wait,
                identities=Identities.from_secret(state.read_secret("secrets.json")),
                since=time.time(),
            )
            up.record = record
            before = record.server
            with state.log.open("a", encoding="utf-8") as report.log:
                run(START, up, report)
            if record.server != before:
                merging.merge_again(state.directory, state.name)
        finally:
            report.log = None
            launcher.close()
    return state.kubeconfig


def refuse(record: Record, launcher: Launcher, spec: ClusterSpec) -> None:
    """Raise `UsageError` for a cluster that a stop would end for good, or that was never wholly made."""
    name, members = record.name, record.members
    if launcher.ends_with_host:
        raise UsageError(
            f"the nodes of {name} end with their job, and their folders as well", remedy="usernetes save --to DIR"
        )
    if spec.durability == "memory":
        raise UsageError(
            f"{name} keeps its data in memory (durability: memory), which ends with its first node",
            remedy="usernetes save --to DIR, or usernetes down",
        )
    unmade = [member.name for member in members.present() if member.state in NOTHING_THERE]
    if unmade or members.first not in members.to_stop():
        raise UsageError(f"{name} was never wholly made", remedy=f"usernetes down --cluster {name}, then usernetes up")
    leaving = [member.name for member in members if member.state is State.LEAVING]
    if leaving:
        raise UsageError(
            f"{', '.join(leaving)} did not leave wholly", remedy=f"usernetes remove {','.join(leaving)}, or down"
        )


def runs(record: Record, launcher: Launcher) -> bool:
    """Whether all nodes of a cluster run; False when none does, or it was stopped.

    Raises `UsernetesError` where some do: their pods are at work, and only the user knows whether these may end.
    """
    if record.members.phase() == "stopped":
        return False
    members = record.members.to_stop()
    gone, silent = silence(launcher, members)
    if silent:
        raise UsernetesError(
            f"{', '.join(sorted(silent))}: no answer ({gone[min(silent)]})", tried="ask the nodes whether they run"
        )
    if gone and len(gone) < len(members):
        name = record.name
        raise UsernetesError(
            f"{', '.join(gone)} ended, the other nodes run",
            remedy=f"usernetes stop --cluster {name}, then usernetes start --cluster {name}; "
            f"or usernetes remove {','.join(gone)} --force, which keeps the others running",
        )
    return not gone


def spec_of(state: ClusterState, record: Record) -> ClusterSpec:
    """The spec that the cluster was made from."""
    return specs.load(record.spec, str(state.directory / "cluster.json"))
