"""Jobs that are submitted to become a cluster, followed, and ended from outside."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import CommandFailed, TimedOut, UsageError, UsernetesError
from usernetes_deploy.jobs import records, systems
from usernetes_deploy.jobs.batch import BatchJob, BatchSystem
from usernetes_deploy.waiting import until

Tell = Callable[[str], None]
LOOK_SECONDS = 0.2


def arguments(wanted: spec.ClusterSpec, *, named: bool) -> list[str]:
    """The arguments of ``usernetes job`` that make the cluster `wanted`; its name only where it was `named`."""
    left_out = {"apiVersion", "kind", "launcher", "nodes", *(() if named else ("name",))}
    fields = {key: value for key, value in spec.dump(wanted).items() if key not in left_out}
    return [word for key, value in fields.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def submit(
    system: BatchSystem,
    nodes: int,
    words: Sequence[str],
    *,
    name: str = "usernetes",
    time_limit: str | None = None,
    queue: str | None = None,
) -> BatchJob:
    """Submit ``usernetes job WORDS`` on `nodes` whole hosts. Raises `UsageError` with the reason when it is refused."""
    if nodes < 1:
        raise UsageError(f"a cluster needs at least 1 node, got {nodes}")
    return system.submit(nodes, words, name=name, time_limit=time_limit, queue=queue)


def follow(job: BatchJob, tell: Tell, seconds: float = math.inf) -> BatchJob:
    """Wait until the cluster of a job is ready; `tell` hears of each state on the way.

    Raises `UsernetesError` when the job ends before, `TimedOut` after `seconds` (the job stays).
    """
    said = ""
    now = job

    def ready() -> bool:
        nonlocal said, now
        now = job.again()
        if now.state == "ended":
            lines = "".join(f"\n  | {line}" for line in now.last_words())
            raise UsernetesError(
                f"job {now.id} ended before its cluster was ready: {now.result}{lines}",
                remedy=f"{now.commands['output']} shows all it printed",
            )
        state = now.cluster or now.word.lower()
        if state != said:
            said = state
            tell(f"job {now.id} on {now.hosts or 'no hosts yet'}: {state}")
        return state == "ready"

    try:
        until(ready, seconds, "the cluster is ready", pause=LOOK_SECONDS)
    except TimedOut:
        raise TimedOut(
            f"job {now.id} is {said} after {seconds:g} s; it stays in the queue",
            remedy=f"usernetes status --cluster {now.id}, or {now.commands['cancel']}",
        ) from None
    return now


def end_job(state: ClusterState, tell: Tell, seconds: float = 120) -> bool:
    """End the job that is this cluster, where it has one that was made for it; False when `down` is to stop the nodes.

    The job does what it does before its time limit: the workflow is told, pods end in order, logs are kept.
    """
    launcher = state.launcher()
    system = systems.of_record(launcher)
    if system is None or not (state.directory / records.SESSION).exists():
        return False
    own = system.own_job() if system.available() else None
    if own and own.id == launcher["job"]:  # a job's own `down` stops the nodes, and the job sees that
        return False
    try:
        job = records.usable(system.job(str(launcher["job"])))
    except UsageError as error:
        tell(error.reason)  # it has ended
        state.remove()
        return True
    try:
        job.end_session(int(json.loads(state.read_secret(records.SESSION).reveal())["pid"]))
    except CommandFailed:
        tell(f"what kept the cluster in job {job.id} is gone; the nodes are stopped from here")
        return False
    wait_ended(job, seconds)
    state.remove()
    tell(f"job {job.id} has ended, and its cluster with it")
    return True


def wait_ended(job: BatchJob, seconds: float) -> None:
    """Wait until the job is over; raises `TimedOut` after `seconds`."""
    until(
        lambda: records.is_over(job),
        seconds,
        f"job {job.id} has ended",
        pause=LOOK_SECONDS,
        remedy=job.commands["cancel"],
    )


def withdraw(launcher: Mapping[str, Any]) -> None:
    """Take the record of a cluster that was taken down out of its job; nothing where it has none."""
    if systems.of_record(launcher):
        with contextlib.suppress(UsernetesError):  # the job may have ended with its cluster
            systems.job_of(launcher).withdraw()


def make_room(state: ClusterState, nodes: int, program: Path, tell: Tell) -> None:
    """Have a join job hold the hosts that the cluster's own job cannot spare; nothing for clusters in no job."""
    launcher = state.launcher()
    system = systems.of_record(launcher)
    if system is None:
        return
    free = len(systems.launcher_of(launcher, program).free_hosts())
    if free < nodes:
        hold_further(system, records.usable(systems.job_of(launcher)), nodes - free, tell)


def hold_further(system: BatchSystem, cluster: BatchJob, nodes: int, tell: Tell) -> None:
    """Submit a join job for `nodes` further hosts, and wait until it holds them; raises what `submit` raises."""
    job = submit(system, nodes, ["--join", cluster.id], name="usernetes-join")
    tell(f"job {job.id} was submitted for {nodes} further hosts")

    def holds() -> bool:
        if any(other.id == job.id for other in cluster.holding()):
            return True
        now = job.again()
        if now.state == "ended":
            raise UsernetesError(f"job {now.id} ended before it held its hosts: {now.result}")
        return False

    until(holds, math.inf, f"job {job.id} holds its hosts", pause=LOOK_SECONDS)


def give_back(state: ClusterState) -> None:
    """End the join jobs none of whose hosts is a node any more; nothing for clusters that have none."""
    launcher = state.launcher()
    if systems.of_record(launcher):
        for other in systems.job_of(launcher).holding():
            if not other.holds_any(launcher):
                other.end_holding()
