"""What the code about jobs needs of a batch system; `launch.flux` and `launch.slurm` implement it.

Everything that a job *does* because it is a cluster (`session`, `records`, `holding`, `losses`) is written against
these two protocols, and names no batch system. docs/batch-systems.md says what a further one has to implement.

>>> from usernetes_deploy.jobs import systems
>>> job = systems.find("ƒ2EqTrdbu")  # doctest: +SKIP
>>> job.state, job.cluster, job.hosts  # doctest: +SKIP
('running', 'ready', 'node[01-04]')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from usernetes_deploy.errors import Secret
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.launch.site import Site, Wanted

State = Literal["pending", "running", "ending", "ended"]


class JobLauncher(Launcher, Protocol):
    """A launcher for the hosts of a job; further jobs may hold hosts for it (``usernetes job --join``)."""

    def free_hosts(self) -> Sequence[Host]:
        """Working hosts of the job, and of the jobs that hold hosts for it, which are no members yet."""

    def take(self, hosts: Sequence[Host]) -> None:
        """Count `hosts` among the members from now on, in `hosts` and in `to_state`."""

    def lost(self) -> Mapping[str, str]:
        """Members whose host the batch system has lost, each with the reason."""


class BatchJob(Protocol):
    """One job as the batch system described it; `again` asks anew. All methods raise `UsernetesError`.

    `id` is what users type (``ƒ2EqTrdbu``, ``1234``), `slug` the same in lower-case letters, digits and dashes.
    `word` is the state in the system's own words, with its reason; `result` how the job ended ("" before).
    `hosts` is a host list (``node[01-04]``), "" before it has any.
    `cluster` is what the job says of the cluster in it: starting, ready, ending, failed, or "" for a job without one.
    """

    @property
    def id(self) -> str: ...
    @property
    def slug(self) -> str: ...
    @property
    def user_id(self) -> int: ...
    @property
    def state(self) -> State: ...
    @property
    def word(self) -> str: ...
    @property
    def result(self) -> str: ...
    @property
    def hosts(self) -> str: ...
    @property
    def cluster(self) -> str: ...

    @property
    def commands(self) -> Mapping[Literal["show", "cancel", "output"], str]:
        """Commands for remedies: what shows the job, ends it, shows its output."""

    def again(self) -> BatchJob:
        """The job as it is now. Raises `UsageError` when the batch system has forgotten it."""

    def announce(self, state: str) -> None:
        """Show `state` of the cluster to everybody who lists jobs (Flux: memo, Slurm: comment)."""

    def publish(self, record: Mapping[str, Secret]) -> None:
        """Store the cluster's record (file name -> content) where only the job's user can read it."""

    def record(self) -> Mapping[str, Secret] | None:
        """What `publish` stored; None when there is nothing."""

    def withdraw(self, timeout: float = 30) -> None:
        """Remove what `publish` stored; fine when there is nothing."""

    def hold_for(self, cluster: str) -> None:
        """Announce that this job only holds its hosts for the cluster of the job with the id `cluster`."""

    def holding(self) -> Sequence[BatchJob]:
        """The running jobs that hold their hosts for the cluster of this one."""

    def end_session(self, pid: int) -> None:
        """Ask the process `pid` on the job's first host, the session, to end in order (SIGUSR1)."""

    def end_holding(self) -> None:
        """Ask a job that holds hosts to end."""

    def holds_any(self, launcher: Mapping[str, Any]) -> bool:
        """Whether a host of this job is a member, by the `to_state` of the cluster's launcher."""

    def last_words(self) -> Sequence[str]:
        """The last lines that the job printed; empty when they cannot be had."""


class BatchSystem(Protocol):
    """A batch system as seen from here; `name` is the launcher's in specs and records, `title` is for messages."""

    name: str
    title: str
    submit_remedy: str

    def available(self) -> bool:
        """Whether its commands are in PATH."""

    def names_job(self, text: str) -> bool:
        """Whether `text` is spelt like a job's id; asks nobody."""

    def own_job(self) -> BatchJob | None:
        """The job that this process is in; None outside one."""

    def check_here(self) -> None:
        """Raise `UsageError` where our own job's session cannot be: it has to be on the job's first host."""

    def job(self, text: str) -> BatchJob:
        """The job with the id `text`, ended ones included. Raises `UsageError` when there is none."""

    def jobs(self) -> Sequence[BatchJob]:
        """This user's jobs that have not ended, those within jobs included."""

    def submit(
        self, nodes: int, arguments: Sequence[str], *, name: str, time_limit: str | None, queue: str | None
    ) -> BatchJob:
        """Submit ``usernetes job ARGUMENTS`` on `nodes` whole hosts. Raises `UsageError` when it is refused.

        `time_limit` is a number with s, m, h or d (``2h``); `queue` is a queue or partition.
        """

    def time_left(self) -> float:
        """Seconds to the time limit of our own job; infinity without one, or where it cannot be seen."""

    def launcher(self, program: Path, *, count: int | None = None) -> JobLauncher:
        """A launcher for the first `count` hosts of our own job (all without a count)."""

    def launcher_from_state(self, state: Mapping[str, Any], program: Path) -> JobLauncher:
        """The launcher of a recorded cluster."""

    def before_cancel(self, document: Mapping[str, Any]) -> None:
        """What has to be done in the job's first process when it is cancelled; `document` is the cluster's record."""

    def site(self) -> Site:
        """What ``usernetes init`` writes a job script from. Raises `UsernetesError` when nobody answers."""

    def refuse(self, site: Site, wanted: Wanted) -> list[str]:
        """What of the wishes for a job cannot be here, as ``--flag: reason``."""

    def job_files(self, site: Site, wanted: Wanted, spec: str) -> Mapping[str, str]:
        """The files that ``usernetes init`` writes: name -> content; one is the job script, which runs the spec."""
