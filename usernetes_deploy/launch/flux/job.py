"""A Flux job as the code about jobs sees it (`jobs.batch.BatchJob`).

A cluster's record goes into the job's own key-value space, which Flux shows to the job's user alone; a word on the
cluster's state goes into the job's memo, where ``flux jobs`` shows it to everybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from usernetes_deploy.errors import TAIL_LINES, CommandFailed, Secret, UsageError, UsernetesError
from usernetes_deploy.launch.flux.instance import SECONDS, Instance, Job

KEY = "usernetes.cluster"
MEMO = "usernetes"
JOINS = "usernetes_joins"  # an identifier: `flux jobs` fails on other names
STATES: Mapping[str, Literal["running", "ending", "ended"]] = {
    "RUN": "running",
    "CLEANUP": "ending",
    "INACTIVE": "ended",
}


@dataclass(frozen=True)
class FluxJob:
    """The job `described`, and the instance `at` that runs it.

    >>> FluxJob(Instance(), Instance().job("ƒ2EqTrdbu")).cluster  # doctest: +SKIP
    'ready'
    """

    at: Instance
    described: Job

    @property
    def id(self) -> str:
        """The id as Flux prints it: ``ƒ2EqTrdbu``."""
        return self.described.f58

    @property
    def slug(self) -> str:
        """The id as a number, for names: ``2734686208000``."""
        return str(self.described.id)

    @property
    def user_id(self) -> int:
        """The uid of the job's user."""
        return self.described.user_id

    @property
    def state(self) -> Literal["pending", "running", "ending", "ended"]:
        """Where the job is in its life."""
        return STATES.get(self.described.state, "pending")

    @property
    def word(self) -> str:
        """The state as Flux calls it."""
        return self.described.state

    @property
    def result(self) -> str:
        """How the job ended: ``canceled (cancel: not needed any more)``; "" before."""
        if not self.described.ended:
            return ""
        why = f" ({self.described.exception})" if self.described.exception else ""
        return f"{self.described.result.lower()}{why}"

    @property
    def hosts(self) -> str:
        """The job's hosts as a host list."""
        return self.described.hosts

    @property
    def cluster(self) -> str:
        """What the job's memo says of the cluster in it; "" for a job without one."""
        return str(self.described.memo.get(MEMO, ""))

    @property
    def commands(self) -> Mapping[Literal["show", "cancel", "output"], str]:
        """Commands for remedies."""
        return {
            "show": f"flux jobs {self.id}",
            "cancel": f"flux cancel {self.id}",
            "output": f"flux job attach {self.id}",
        }

    def again(self) -> FluxJob:
        """The job as it is now."""
        found = self.at.jobs([self.described.id])
        if not found:
            raise UsageError(f"there is no job {self.id}")
        return FluxJob(self.at, found[0])

    def inside(self) -> Instance:
        """The instance that a running job is. Raises `UsageError` when it is none."""
        if not self.described.uri:
            raise UsageError(f"job {self.id} is not a Flux instance, so it has no jobs and no cluster")
        return Instance(self.described.uri, flux=self.at.flux)

    def announce(self, state: str) -> None:
        """Put `state` into the job's memo."""
        self._memo(MEMO, state)

    def hold_for(self, cluster: str) -> None:
        """Say in the memo that the job's hosts are for the cluster of the job `cluster`."""
        self._memo(JOINS, cluster)

    def holding(self) -> Sequence[FluxJob]:
        """The running jobs whose hosts are held for this job's cluster; `inside` gives their instances."""
        return [
            FluxJob(self.at, job)
            for job in self.at.jobs()
            if job.memo.get(JOINS) == self.id and job.uri and job.state == "RUN"
        ]

    def publish(self, record: Mapping[str, Secret]) -> None:
        """Store the record with the job, for its user alone; it travels on stdin."""
        document = json.dumps({name: content.reveal() for name, content in record.items()})
        self._kvs("put", "--raw", f"{KEY}=-", stdin=document)

    def withdraw(self, timeout: float = SECONDS) -> None:
        """Take the record back; fine when there is none."""
        self._kvs("unlink", "-f", KEY, timeout=timeout)

    def record(self) -> Mapping[str, Secret] | None:
        """The cluster's record; None until the job has published one."""
        try:
            text = self.at.ask.job_info(self.described.id, f"guest.{KEY}")
        except UsernetesError as error:
            if "not found" in error.reason or "No such" in error.reason:
                return None
            raise
        try:
            files = json.loads(text)
            return {str(name): Secret(str(content)) for name, content in files.items()}
        except (ValueError, AttributeError):
            raise UsernetesError("not as usernetes wrote it", tried=f"read the record of job {self.id}") from None

    def end_session(self, pid: int) -> None:
        """Tell the job's session to end as it does before its time limit."""
        self.inside().command("exec", "-q", "-r", "0", "-d", "/", "kill", "-USR1", str(pid))

    def end_holding(self) -> None:
        """Ask a job that holds hosts to end."""
        self.at.command("job", "kill", "--signal=USR1", str(self.described.id))

    def holds_any(self, launcher: Mapping[str, Any]) -> bool:
        """Whether a host of this job is a member of the cluster with this launcher."""
        members = {str(host["where"]).rpartition("#")[0] for host in launcher["hosts"]}
        return self.inside().remote_uri() in members

    def last_words(self) -> Sequence[str]:
        """The last lines of the job's output."""
        try:
            lines = self.at.command("job", "attach", "--quiet", "--read-only", self.id, timeout=5).splitlines()
        except CommandFailed as error:  # its exit code is the job's
            lines = error.output.splitlines()
        except UsernetesError:
            lines = []
        return lines[-TAIL_LINES:]

    def _memo(self, key: str, value: str) -> None:
        self.at.command("job", "memo", str(self.described.id), f"{key}={value}")

    def _kvs(self, verb: str, *arguments: str, stdin: str | None = None, timeout: float = SECONDS) -> None:
        namespace = self.at.command("job", "namespace", self.slug, timeout=timeout).strip()
        self.at.command("kvs", verb, f"--namespace={namespace}", *arguments, stdin=stdin, timeout=timeout)


def find(text: str, instance: Instance) -> FluxJob:
    """The job `text`: ``ƒJOB``, or ``ƒOUTER/ƒINNER`` for a job within a job.

    Within a job, the jobs of the enclosing instances are found as well. Raises `UsageError`.
    """
    first, *rest = [part for part in text.split("/") if part]
    found = _look_up(instance, first)
    for part in rest:
        within = found.inside()
        found = FluxJob(within, within.job(part))
    return found


def _look_up(instance: Instance, text: str) -> FluxJob:
    try:
        return FluxJob(instance, instance.job(text))
    except UsageError:
        parent = instance.parent()
        if parent is None:
            raise
        return _look_up(parent, text)
