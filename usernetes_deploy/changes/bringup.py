"""UP: the phases of bringing a cluster up, in their order, and DOWN, which needs nothing but the state directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from usernetes_deploy.access.policies import driver
from usernetes_deploy.access.policies.site import in_force
from usernetes_deploy.bundle import Bundle
from usernetes_deploy.changes.context import BringUp, Departure
from usernetes_deploy.changes.phase import Phase, Report, run
from usernetes_deploy.cluster import registries, user_objects
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import BundleError
from usernetes_deploy.phases.apply_manifests import ApplyManifests
from usernetes_deploy.phases.check_network import CheckNetwork
from usernetes_deploy.phases.check_nodes import CheckNodes
from usernetes_deploy.phases.connect_hosts import ConnectHosts
from usernetes_deploy.phases.forget_cluster import ForgetCluster, TrySilent
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.record_cluster import RecordCluster
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes
from usernetes_deploy.phases.stop_nodes import StopNodes
from usernetes_deploy.phases.wait_ready import WaitReady

CHECK: Sequence[Phase[BringUp]] = (ConnectHosts(), ProbeNodes(), CheckNodes())
UP: Sequence[Phase[BringUp]] = (
    *CHECK,
    RecordCluster(),
    StageBundle(),
    PlanNetwork(),
    IssueCredentials(),
    StartNodes(),
    WaitReady(meanwhile=CheckNetwork.begin),
    CheckNetwork(),
    ApplyManifests(),
)
DOWN: Sequence[Phase[Departure]] = (StopNodes(strict=True), TrySilent(), ForgetCluster())


def up(context: BringUp, phases: Sequence[Phase[BringUp]] = UP) -> Path:
    """Bring a cluster up by these phases; returns the path of its kubeconfig.

    Raises what the phases raise; then nothing is left on any host but the staged bundle, and the nodes' logs are kept.
    """
    refuse_at_once(context)  # the lock makes a folder, and what is refused changes nothing
    with context.state.locked():
        refuse_existing(context)  # made while we waited for nothing but the lock
        try:
            run(phases, context, context.report)
        finally:
            if context.report.log:
                context.report.log.close()
                context.report.log = None
    return context.state.kubeconfig


def rehearse(context: BringUp) -> None:
    """Do all of `up` that changes nothing: the spec's files are read, the hosts checked. Raises what `up` raises."""
    refuse_at_once(context)
    run(CHECK, context, context.report)


def refuse_at_once(context: BringUp) -> None:
    """Raise what can be said without asking any host: a cluster of that name, policies, components, files."""
    refuse_existing(context)
    driver.check_size(in_force(context.spec.policies), context.spec.nodes, context.time_left)
    need_components(context.spec, context.bundle)
    read_files(context.spec)


def refuse_existing(context: BringUp) -> None:
    """Raise `UsageError` where there is a cluster of that name: it says how to get rid of it."""
    if context.state.exists():
        context.state.create()


def read_files(spec: ClusterSpec) -> None:
    """Read the files that a spec names, for their mistakes, before anything is changed. Raises `SpecError`."""
    user_objects.files(spec.manifests)
    registries.files(spec)


def need_components(spec: ClusterSpec, bundle: Bundle) -> None:
    """Raise `BundleError` when the spec asks for an optional component that the bundle was made without."""
    for component, binary, wanted in (
        ("metrics-server", "metrics-server", spec.metrics),
        ("flannel", "flanneld", spec.network.backend == "flannel"),
    ):
        if wanted and f"bin/{binary}" not in bundle.manifest.files:
            raise BundleError(
                f"the bundle {bundle.manifest.name} has no {component}, which the spec asks for",
                remedy=f"usernetes bundle build --with {component}",
            )


def down(state: ClusterState, report: Report, program: Path, keep: Path | None = None) -> int:
    """Take a cluster down, also a half-made one; returns how many nodes were told to stop.

    Raises `NodeFailures` for nodes that could not be stopped; the state directory then stays, for another try.
    """
    with state.locked():
        if not (state.directory / "cluster.json").exists():
            state.remove()
            return 0
        record = state.record()
        launcher = launcher_from_state(record.launcher, program)
        leave = Departure(launcher=launcher, state=state, report=report, keep=keep)
        leave.record, leave.silent = record, set()
        count = len(record.members.to_stop())
        try:
            run(DOWN, leave, report)
        finally:
            launcher.close()
        rest = f"what {', '.join(sorted(leave.silent))} may have is not known" if leave.silent else "nothing left"
        report.line(f"{count} {'node' if count == 1 else 'nodes'} stopped, {rest}")
        return count
