"""The record of a cluster that is in a job: stored with the job, and copied to a state directory where it is used.

A record is the files of the state directory that every machine needs which speaks to the cluster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.state import ClusterState, clusters
from usernetes_deploy.errors import JobEnded, Secret, UsageError, UsernetesError
from usernetes_deploy.jobs import systems
from usernetes_deploy.jobs.batch import BatchJob

SESSION = "session.json"  # the process that keeps the cluster, on the job's first host
FILES = ("cluster.json", "kubeconfig", "secrets.json", SESSION)


def usable(job: BatchJob, text: str = "") -> BatchJob:
    """The same job, if it is ours, runs, and has a cluster. Raises `UsageError`, `JobEnded` of one that is over."""
    said = text or job.id
    if job.user_id != os.getuid():
        raise UsageError(f"job {said} belongs to another user (uid {job.user_id})")
    if job.state in ("ending", "ended"):
        how = f"has ended: {job.result}" if job.state == "ended" else "is just ending"
        raise JobEnded(f"job {said} {how}; its cluster is gone")
    if job.state == "pending":
        raise UsageError(f"job {said} has not started (it is in the state {job.word})", remedy=job.commands["show"])
    if not job.cluster:
        raise UsageError(f"job {job.id} has no cluster", remedy="usernetes list")
    return job


def is_over(job: BatchJob) -> bool:
    """Whether a job has ended, as asked now; a job that the batch system has forgotten has."""
    try:
        return job.again().state == "ended"
    except UsageError:
        return True


def adopt(root: Path, text: str, *, half_made: bool = False) -> ClusterState:
    """The state directory below `root` of the cluster in the job `text`, written from the job's record if need be.

    Raises what `usable` raises, and `UsageError` while the cluster is being brought up (`half_made`: before that
    begins).
    """
    return adopt_job(root, usable(systems.find(text), text), half_made=half_made)


def adopt_job(root: Path, job: BatchJob, *, half_made: bool = False) -> ClusterState:
    """The same for a job that was found already; what is there is brought up to date."""
    record = job.record()
    if record is not None and "kubeconfig" not in record and not half_made:
        record = None
    for known in clusters(root):
        if known.launcher().get("job") == job.id:
            if record is not None:
                write(known, record)
            return known
    if record is None:
        raise UsageError(
            f"the cluster of job {job.id} is {job.cluster}, it has no kubeconfig yet",
            remedy="try again in some seconds",
        )
    name = str(json.loads(record["cluster.json"].reveal())["name"])
    state = ClusterState(root, name)
    if state.exists():
        raise UsageError(f"another cluster here is named {name} as well", remedy=f"usernetes down --cluster {name}")
    state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(state, record)
    return state


def write(state: ClusterState, record: Mapping[str, Secret]) -> None:
    """Write the files of a record to a state directory."""
    for file in sorted(record, key=lambda file: file == "cluster.json"):  # what makes it exist comes last
        if "/" not in file:
            state.write_secret(file, record[file])


def of(state: ClusterState) -> Mapping[str, Secret]:
    """The files of a state directory that make a record."""
    return {name: state.read_secret(name) for name in FILES if (state.directory / name).exists()}


def of_beginning(state: ClusterState) -> Mapping[str, Secret]:
    """The record of a cluster that is about to be started, as it holds until the next one is stored.

    Its members count as started: whoever goes by this record must look for their nodes.
    """
    record = dict(of(state))
    document = json.loads(record["cluster.json"].reveal())
    for member in document["members"]:
        if member["state"] == State.PLACED:
            member["state"] = str(State.STARTED)
    return {**record, "cluster.json": Secret(json.dumps(document))}


def publish_change(state: ClusterState) -> None:
    """Store with the job what was changed here, for every other machine; nothing for a cluster that is in no job."""
    if (state.directory / SESSION).exists():
        systems.job_of(state.launcher()).publish(of(state))


def forget_ended(root: Path) -> list[str]:
    """Remove the state directories of clusters whose job has ended, or waits to start again; returns their names."""
    gone = []
    for state in clusters(root):
        system = systems.of_record(state.launcher())
        if system is None or not system.available():
            continue
        try:
            job = system.job(str(state.launcher()["job"]))
        except UsageError:  # the system has forgotten it, or this is another site's
            continue
        if job.state in ("pending", "ended"):
            state.remove()
            gone.append(state.name)
    return gone


def with_jobs(root: Path) -> list[ClusterState]:
    """All clusters of the user: those with a state directory here, and those in jobs, which get one.

    Raises `UsernetesError` when jobs could not be asked for though a cluster here is in one.
    """
    try:
        forget_ended(root)
        known = {state.launcher().get("job") for state in clusters(root)}
        for system in systems.here():
            for job in system.jobs():
                if job.cluster == "ready" and job.id not in known:
                    adopt_job(root, job)
    except UsernetesError:
        if any(systems.of_record(state.launcher()) for state in clusters(root)):
            raise
    return clusters(root)
