"""RESUME: UP with the identities, objects and volumes of a cluster that was saved."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import Phase
from usernetes_deploy.cluster import spec as specs
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.lease import Lease
from usernetes_deploy.cluster.savefile import Saved, archive_in, read
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import Secret, UsageError, UsernetesError
from usernetes_deploy.phases.check_network import CheckNetwork
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.put_saved import PutSaved
from usernetes_deploy.phases.record_cluster import RecordCluster
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes
from usernetes_deploy.phases.wait_ready import WaitReady

# As UP, but for the objects of the spec's `manifests`: they are there, as they were changed since.
RESUME: Sequence[Phase[BringUp]] = (
    *bringup.CHECK,
    RecordCluster(),
    StageBundle(),
    PlanNetwork(),
    IssueCredentials(),
    PutSaved(),
    StartNodes(),
    WaitReady(meanwhile=CheckNetwork.begin),
    CheckNetwork(),
)
FIXED = ("pod_cidr", "service_cidr", "node_cidr", "dns_domain", "backend")


@contextlib.contextmanager
def opened(place: Path, key: Secret, root: Path) -> Iterator[tuple[Saved, Path]]:
    """The archive in `place` (a file, or its folder) unpacked below `root` for the length of the block, with its path.

    Raises `UsageError` that says what is wrong with it.
    """
    archive = archive_in(place)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        spare = Path(tempfile.mkdtemp(prefix=".resume-", dir=root))
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"unpack {archive} in {root}") from error
    try:
        yield read(archive, key, spare / "parts"), archive
    finally:
        shutil.rmtree(spare, ignore_errors=True)


def resume(context: BringUp, saved: Saved, archive: Path) -> Path:
    """Bring a saved cluster up; returns the path of its kubeconfig. Raises as `bringup.up`, and `UsageError`.

    The archive's lease is this process's, then the first node's: nobody else resumes it while that one lives.
    """
    refuse_other_network(context.spec, saved)
    context.saved, context.identities = saved, Identities.from_secret(saved.identities)
    if context.state.exists():
        context.state.create()  # says what is there, before a lease is asked for
    lease = Lease.of(archive)
    lease.take(context.spec.name)
    try:
        kubeconfig = bringup.up(context, RESUME)
        lease.hand_over(context.spec.name, context.state.directory, context.members.first.directory)
    except BaseException:
        lease.release()
        raise
    return kubeconfig


def refuse_other_network(spec: ClusterSpec, saved: Saved) -> None:
    """Raise `UsageError` for what objects that exist cannot follow, as the addresses of Services."""
    before = specs.load(saved.manifest.spec, "the archive").network
    other = [name for name in FIXED if getattr(before, name) != getattr(spec.network, name)]
    if other:
        raise UsageError(
            "a resumed cluster keeps "
            + ", ".join(f"network.{specs.camel(name)} {getattr(before, name)}" for name in other),
            remedy="leave that out",
        )
