"""Clusters that live in Flux jobs: submitted, announced by the job, found by job id from the login node.

A cluster's record (state document, kubeconfig, authorities) is put into the job's own key-value space, which Flux shows
to the job's user alone; a word on its state is put into the job's memo, where `flux jobs` shows it to everybody.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.cluster.state import clusters as states
from usernetes_deploy.errors import TAIL_LINES, CommandFailed, Secret, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.flux.instance import SECONDS, Instance, Job

KEY = "usernetes.cluster"
MEMO = "usernetes"
SESSION = "session.json"
FILES = ("cluster.json", "kubeconfig", "secrets.json", SESSION)
JOINS = "usernetes_joins"  # an identifier: `flux jobs` fails on other names
_BASE58 = re.compile(r"(ƒ|f)[1-9A-HJ-NP-Za-km-z]+")
_NUMBER = re.compile(r"[0-9]{4,20}")


class JobEnded(UsageError):
    """The job is over, and its cluster with it."""


@dataclass(frozen=True)
class Found:
    """A cluster in a job: where it was found, what the job says of it, and its record (None until it has one)."""

    instance: Instance
    job: Job
    state: str
    record: Mapping[str, Secret] | None


def looks_like_job(text: str) -> bool:
    """Whether `text` may be a job id, or a path of them into nested jobs.

    >>> [looks_like_job(text) for text in ("ƒ2EqTrdbu", "f2EqTrdbu", "ƒA3/ƒB7", "2734686208000", "default")]
    [True, True, True, True, False]
    """
    parts = [part for part in text.split("/") if part]
    return bool(parts) and all(
        _NUMBER.fullmatch(part)
        or ((found := _BASE58.fullmatch(part)) and (found[1] == "ƒ" or re.search(r"[0-9A-Z]", part)))
        for part in parts
    )


def cluster_name(job: Job | int) -> str:
    """The name of the cluster that a job's script makes: its job id in lower case, ``job-2734686208000``."""
    return f"job-{job if isinstance(job, int) else job.id}"


def own_job(instance: Instance) -> tuple[Instance, Job]:
    """The job that `instance` is, and the instance it is a job of. Raises `UsageError` outside a job."""
    parent, text = instance.parent(), instance.own_job()
    if parent is None or text is None:
        raise UsageError(
            "this is not inside a Flux job",
            remedy="usernetes up --launcher flux --nodes 4, or flux batch -N4 flux-jobs/usernetes-up.sh",
        )
    return parent, parent.job(text)


def announce(parent: Instance, job: Job, state: str) -> None:
    """Put `state` ("starting", "ready", "ending") into the job's memo."""
    parent.command("job", "memo", str(job.id), f"{MEMO}={state}")


def publish(parent: Instance, job: Job, record: Mapping[str, Secret]) -> None:
    """Store the files of the state directory with the job, for its user alone; they travel on stdin."""
    document = json.dumps({name: content.reveal() for name, content in record.items()})
    _kvs(parent, job, "put", "--raw", f"{KEY}=-", stdin=document)


def withdraw(parent: Instance, job: Job, timeout: float = SECONDS) -> None:
    """Take the record back: the cluster is gone. Fine when there is none."""
    _kvs(parent, job, "unlink", "-f", KEY, timeout=timeout)


def find(text: str, instance: Instance | None = None) -> Found:
    """The cluster of the job `text` (``ƒJOB``, or ``ƒOUTER/ƒINNER`` for a job within a job).

    Within a job, the jobs of the enclosing instances are found as well. Raises `UsageError`: no such job, another
    user's, no cluster in it, ended; `UsernetesError` when its record cannot be read.
    """
    at = instance or Instance()
    first, *rest = [part for part in text.split("/") if part]
    at, job = _look_up(at, first)
    for part in rest:
        at = inside(at, job)
        job = at.job(part)
    _check_usable(job, text)
    if MEMO not in job.memo:
        raise UsageError(f"job {job.f58} has no cluster", remedy="usernetes list")
    return Found(at, job, str(job.memo[MEMO]), _record(at, job))


def _look_up(instance: Instance, text: str) -> tuple[Instance, Job]:
    try:
        return instance, instance.job(text)
    except UsageError:
        parent = instance.parent()
        if parent is None:
            raise
        return _look_up(parent, text)


def clusters(instance: Instance | None = None, *, depth: int = 2) -> list[Found]:
    """The user's clusters in all jobs that have not ended, jobs within jobs included down to `depth`."""
    at = instance or Instance()
    found = []
    for job in at.jobs():
        if MEMO in job.memo:
            found.append(Found(at, job, str(job.memo[MEMO]), None))
        elif depth > 1 and job.uri and job.state == "RUN":
            try:
                found += clusters(inside(at, job), depth=depth - 1)
            except UsernetesError:
                continue  # a job that is just ending, or whose host does not let us in, has no cluster to show
    return found


def inside(instance: Instance, job: Job) -> Instance:
    """The instance that a running job is. Raises `UsageError` when it is none."""
    if not job.uri:
        raise UsageError(f"job {job.f58} is not a Flux instance, so it has no jobs and no cluster")
    return Instance(job.uri, flux=instance.flux)


def submit(
    nodes: int,
    arguments: Sequence[str],
    *,
    options: Sequence[str] = (),
    name: str = "usernetes",
    instance: Instance | None = None,
) -> str:
    """Submit ``usernetes job ARGUMENTS`` on `nodes` whole hosts; returns the job's id.

    `options` are those of ``flux batch``. Raises `UsageError` with the reason when the job is refused.

    >>> submit(4, ["--set", "metrics=true"], options=["--time-limit=2h", "--queue=debug"])  # doctest: +SKIP
    'ƒ2EqTrdbu'
    """
    at = instance or Instance()
    if nodes < 1:
        raise UsageError(f"a cluster needs at least 1 node, got {nodes}")
    script = f"#!/bin/sh\nexec {shlex.join(['usernetes', 'job', *arguments])}\n"
    given = {f"--job-name={name}", "--output=kvs"}
    chosen = [option for option in sorted(given) if not any(o.startswith(option.partition("=")[0]) for o in options)]
    try:
        return at.command("batch", f"--nodes={nodes}", *chosen, *options, stdin=script).strip()
    except CommandFailed as error:
        reason = error.output.strip().removeprefix("flux-batch: ERROR: ") or str(error)
        raise UsageError(reason, tried="flux batch") from None


def follow(
    text: str, seconds: float, *, instance: Instance | None = None, tell: Callable[[str], None] = lambda _: None
) -> Found:
    """Wait until the cluster of a job is ready; `tell` hears of each state on the way.

    Raises `UsernetesError` when the job ends before, `TimedOut` after `seconds` (the job stays).
    """
    at = instance or Instance()
    ends = time.monotonic() + seconds
    number = at.ask.job_id(text)
    said = ""
    while True:
        jobs = at.jobs([number])
        if not jobs:
            raise UsageError(f"there is no job {text}")
        job = jobs[0]
        state = str(job.memo.get(MEMO, job.state.lower()))
        if job.ended:
            why = f" ({job.exception})" if job.exception else ""
            raise UsernetesError(
                f"job {job.f58} ended before its cluster was ready: {job.result.lower()}{why}{_last_words(at, job)}",
                remedy=f"flux job attach {job.f58} shows all it printed",
            )
        if state != said:
            said = state
            tell(f"job {job.f58} on {job.hosts or 'no hosts yet'}: {state}")
        if state == "ready":
            return Found(at, job, state, _record(at, job))
        if time.monotonic() > ends:
            raise TimedOut(
                f"job {job.f58} is {state} after {seconds:g} s; it stays in the queue",
                remedy=f"usernetes status --cluster {job.f58}, or flux cancel {job.f58}",
            )
        time.sleep(0.2)


def join(parent: Instance, job: Job, cluster: Found) -> None:
    """Say in the memo of `job` that its hosts are for `cluster`."""
    parent.command("job", "memo", str(job.id), f"{JOINS}={cluster.job.f58}")


def joined(cluster: Found) -> list[Job]:
    """The running jobs whose hosts are held for `cluster`; `inside` gives their instances."""
    jobs = cluster.instance.jobs()
    return [job for job in jobs if job.memo.get(JOINS) == cluster.job.f58 and job.uri and job.state == "RUN"]


def ask_to_end(found: Found, session: int) -> None:
    """Tell a cluster's job, whose `session` is that process, to end as it does before its time limit."""
    within = inside(found.instance, found.job)
    within.command("exec", "-q", "-r", "0", "-d", "/", "kill", "-USR1", str(session))


def wait_ended(found: Found, seconds: float) -> None:
    """Wait until the job is over; raises `TimedOut` after `seconds`."""
    ends = time.monotonic() + seconds
    while not found.instance.jobs([found.job.id])[0].ended:
        if time.monotonic() > ends:
            raise TimedOut(f"job {found.job.f58} has not ended", remedy=f"flux cancel {found.job.f58}")
        time.sleep(0.1)


def adopt(root: Path, text: str, instance: Instance | None = None, *, half_made: bool = False) -> ClusterState:
    """The state directory below `root` of the cluster in the job `text`, written from the job's record if need be.

    Raises what `find` raises, and `UsageError` while the cluster is being brought up (`half_made`: before that begins).
    """
    return adopt_found(root, find(text, instance), half_made=half_made)


def adopt_found(root: Path, found: Found, *, half_made: bool = False) -> ClusterState:
    """The same for a cluster that was found already; what is there is brought up to date."""
    record = found.record or _record(found.instance, found.job)
    if record is not None and "kubeconfig" not in record and not half_made:
        record = None
    for known in states(root):
        if known.launcher().get("job") == found.job.f58:
            if record is not None:
                write_record(known, record)
            return known
    if record is None:
        raise UsageError(
            f"the cluster of job {found.job.f58} is {found.state}, it has no kubeconfig yet",
            remedy="try again in some seconds",
        )
    name = str(json.loads(record["cluster.json"].reveal())["name"])
    state = ClusterState(root, name)
    if state.exists():
        raise UsageError(f"another cluster here is named {name} as well", remedy=f"usernetes down --cluster {name}")
    state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_record(state, record)
    return state


def write_record(state: ClusterState, record: Mapping[str, Secret]) -> None:
    """Write the files of a record to a state directory."""
    for file in sorted(record, key=lambda file: file == "cluster.json"):  # what makes it exist comes last
        if "/" not in file:
            state.write_secret(file, record[file])


def record_of(state: ClusterState) -> Mapping[str, Secret]:
    """The files of a state directory that make a record."""
    return {name: state.read_secret(name) for name in FILES if (state.directory / name).exists()}


def hold_further(cluster: Found, nodes: int, tell: Callable[[str], None]) -> None:
    """Submit a join job for `nodes` further hosts, and wait until it holds them; raises what `submit` raises."""
    submitted = submit(nodes, ["--join", cluster.job.f58], name="usernetes-join", instance=cluster.instance)
    tell(f"job {submitted} was submitted for {nodes} further hosts")
    number = cluster.instance.ask.job_id(submitted)
    while not any(job.id == number for job in joined(cluster)):
        job = cluster.instance.jobs([number])[0]
        if job.ended:
            why = f" ({job.exception})" if job.exception else ""
            raise UsernetesError(f"job {job.f58} ended before it held its hosts: {job.result.lower()}{why}")
        time.sleep(0.2)


def forget_ended(root: Path, instance: Instance | None = None) -> list[str]:
    """Remove the state directories of clusters whose job has ended; returns their names."""
    at = instance or Instance()
    gone = []
    for state in states(root):
        launcher = state.launcher()
        text = launcher.get("job")
        if launcher.get("launcher") != "flux" or not text:
            continue
        jobs = at.jobs([at.ask.job_id(text)])
        if jobs and jobs[0].ended:
            state.remove()
            gone.append(state.name)
    return gone


def _last_words(instance: Instance, job: Job) -> str:
    try:
        lines = instance.command("job", "attach", "--quiet", "--read-only", job.f58, timeout=5).splitlines()
    except CommandFailed as error:  # its exit code is the job's
        lines = error.output.splitlines()
    except UsernetesError:
        lines = []
    return "".join(f"\n  | {line}" for line in lines[-TAIL_LINES:])


def _check_usable(job: Job, text: str) -> None:
    if job.user_id != os.getuid():
        raise UsageError(f"job {text} belongs to another user (uid {job.user_id})")
    if job.ended:
        why = f" ({job.exception})" if job.exception else ""
        raise JobEnded(f"job {text} has ended: {job.result.lower()}{why}; its cluster is gone")
    if job.state != "RUN":
        raise UsageError(f"job {text} has not started (it is in the state {job.state})", remedy=f"flux jobs {text}")


def _record(instance: Instance, job: Job) -> Mapping[str, Secret] | None:
    try:
        text = instance.ask.job_info(job.id, f"guest.{KEY}")
    except UsernetesError as error:
        if "not found" in error.reason or "No such" in error.reason:
            return None
        raise
    try:
        files = json.loads(text)
        return {str(name): Secret(str(content)) for name, content in files.items()}
    except (ValueError, AttributeError):
        raise UsernetesError("not as usernetes wrote it", tried=f"read the record of job {job.f58}") from None


def _kvs(
    parent: Instance, job: Job, verb: str, *arguments: str, stdin: str | None = None, timeout: float = SECONDS
) -> None:
    namespace = parent.command("job", "namespace", str(job.id), timeout=timeout).strip()
    parent.command("kvs", verb, f"--namespace={namespace}", *arguments, stdin=stdin, timeout=timeout)
