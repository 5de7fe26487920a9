"""What a job does that only holds its hosts for the cluster of another job (``usernetes job --join``)."""

from __future__ import annotations

from collections.abc import Callable

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.jobs.batch import BatchJob, BatchSystem
from usernetes_deploy.jobs.ending import Signals, TimeLimit
from usernetes_deploy.jobs.records import is_over, usable

LOOK_SECONDS = 2.0


def hold_hosts(system: BatchSystem, job: BatchJob, cluster: str, notice: float, tell: Callable[[str], None]) -> None:
    """Hold the hosts of `job`, our own, for the cluster of the job `cluster`, until either ends.

    ``usernetes add`` takes them. Raises `UsageError` when that job has no cluster.
    """
    holder = usable(system.job(cluster), cluster)
    with Signals(lambda: None).heard() as signals:
        job.hold_for(holder.id)
        limit = TimeLimit(system.time_left, notice)
        tell(f"job {job.id} holds {job.hosts} for the cluster of job {holder.id}")
        said = ""
        while not signals.ending.wait(LOOK_SECONDS) and not limit.near():
            try:
                if is_over(holder):
                    tell(f"job {holder.id} has ended")
                    break
            except UsernetesError as error:  # for a moment, or this job ends as well: no reason to drop nodes
                if str(error) != said:
                    said = str(error)
                    tell(f"whether job {holder.id} has ended cannot be seen: {error}")
