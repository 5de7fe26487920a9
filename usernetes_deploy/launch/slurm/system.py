"""Slurm as a batch system (`jobs.batch.BatchSystem`)."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.site import Site, Wanted, refuse
from usernetes_deploy.launch.slurm import site as slurm_site
from usernetes_deploy.launch.slurm.commands import Commands, minutes_of, own_job_id
from usernetes_deploy.launch.slurm.job import NOTE, SlurmJob, own_place
from usernetes_deploy.launch.slurm.launcher import SlurmLauncher

NOTICE_SECONDS = 90  # before the time limit Slurm tells the script (SIGUSR1), as well as the script sees it by itself
# What the job prints goes beside the records of jobs. The script opens the file, not Slurm, which makes no folders: the
# home of the job's first host may be another one than ours.
KEEP_OUTPUT = (
    'umask 077; place="${XDG_STATE_HOME:-$HOME/.local/state}/usernetes/.jobs"; '
    'mkdir -p "$place" && exec >"$place/$SLURM_JOB_ID.out" 2>&1\n'
)
OUTPUT_DAYS = 7
CANCEL_SECONDS = 1.0  # for each question while Slurm waits to kill us
_ID = re.compile(r"\d{1,9}([_+]\d{1,7})?")


class SlurmSystem:
    """The Slurm whose commands are in PATH.

    >>> [SlurmSystem().names_job(text) for text in ("12", "12_4", "12+1", "ƒ2EqTrdbu", "default", "2734686208000")]
    [True, True, True, False, False, False]
    """

    name = "slurm"
    title = "Slurm"
    submit_remedy = "usernetes up --launcher slurm --nodes 4, or sbatch -N4 slurm-jobs/usernetes-up.sh"

    def __init__(self, commands: Commands | None = None) -> None:
        self.slurm = commands or Commands()

    def available(self) -> bool:
        """Whether Slurm's commands are in PATH."""
        return self.slurm.available()

    def names_job(self, text: str) -> bool:
        """Whether `text` may be a job id: ``12``, ``12_4`` of an array, ``12+1`` of a heterogeneous job."""
        return bool(_ID.fullmatch(text))

    def own_job(self) -> SlurmJob | None:
        """The job that this process is in, by what sbatch, salloc and srun put into the environment."""
        text = own_job_id()
        return self.job(text) if text else None

    def check_here(self) -> None:
        """Within ``salloc`` we may be on a login host, where nobody would find the session."""
        job = self.own_job()
        if job and not job.is_first_host():
            raise UsageError(
                f"the first host of job {job.id} is {job.entry.first}, this is another one",
                remedy="usernetes up --launcher slurm; or run the same by sbatch",
            )

    def job(self, text: str) -> SlurmJob:
        """The job `text`."""
        if not self.names_job(text):
            raise UsageError(f"{text!r} is no Slurm job id", remedy="squeue --me")
        return SlurmJob(self.slurm, self.slurm.job(text))

    def jobs(self) -> Sequence[SlurmJob]:
        """The user's jobs that have not ended; records of others are removed on the way."""
        found = self.slurm.jobs()
        self._forget({entry.number for entry in found})
        return [SlurmJob(self.slurm, entry) for entry in found]

    def submit(
        self, nodes: int, arguments: Sequence[str], *, name: str, time_limit: str | None, queue: str | None
    ) -> SlurmJob:
        """Submit a job script for whole hosts; what it prints goes beside the records of jobs.

        >>> SlurmSystem().submit(4, ["--set", "metrics=true"], name="usernetes",
        ...                      time_limit="2h", queue="debug").id  # doctest: +SKIP
        '12'
        """
        script = f"#!/bin/sh\n{KEEP_OUTPUT}exec {shlex.join(['usernetes', 'job', *arguments])}\n"
        argv = ["sbatch", "--parsable", f"--nodes={nodes}", f"--job-name={name}", "--exclusive", "--no-kill"]
        argv += [f"--signal=B:USR1@{NOTICE_SECONDS}", "--output=/dev/null", "--chdir=/"]
        argv += [f"--time={minutes_of(time_limit)}"] if time_limit else []
        argv += [f"--partition={queue}"] if queue else []
        try:
            # What can never run is refused by this; a submission of it may wait in the queue for ever.
            self.slurm.command(*argv, "--test-only", stdin=script)
            text = self.slurm.command(*argv, stdin=script).strip()
        except CommandFailed as error:
            lines = [
                line.removeprefix("sbatch: ").removeprefix("error: ") for line in error.output.strip().splitlines()
            ]
            raise UsageError("; ".join(lines) or str(error), tried="sbatch") from None
        return self.job(text.partition(";")[0])

    def site(self) -> Site:
        """Slurm's partitions, their hosts and limits, and the accounts of this user."""
        return slurm_site.site(self.slurm)

    def refuse(self, site: Site, wanted: Wanted) -> list[str]:
        """What of the wishes cannot be here."""
        return [*refuse(site, wanted), *slurm_site.refuse_time(site, wanted)]

    def job_files(self, site: Site, wanted: Wanted, spec: str) -> Mapping[str, str]:
        """A job script with the spec in it."""
        return slurm_site.job_files(site, wanted, spec, NOTICE_SECONDS)

    def time_left(self) -> float:
        """Seconds to our job's time limit; infinity without one."""
        try:
            return self.slurm.time_left(os.environ["SLURM_JOB_ID"])
        except (UsernetesError, KeyError):
            return math.inf

    def launcher(self, program: Path, *, count: int | None = None) -> SlurmLauncher:
        """A launcher for the hosts of our own job."""
        return SlurmLauncher(program, count=count, commands=self.slurm)

    def launcher_from_state(self, state: Mapping[str, Any], program: Path) -> SlurmLauncher:
        """The launcher of a recorded cluster."""
        return SlurmLauncher.from_state(state, program)

    def before_cancel(self, document: Mapping[str, Any]) -> None:  # noqa: ARG002  nothing of the record is needed
        """Say that the job is ending: one that Slurm puts back into the queue would be called ready when it starts.

        There is nothing else to do: Slurm tells all steps, nodes among them, at the same time as us.
        """
        text = own_job_id()
        if text:
            quick = Commands(CANCEL_SECONDS)
            quick.note(quick.job(text), NOTE, "ending")

    def _forget(self, running: set[str]) -> None:
        """Remove records of jobs that ended without a word (a host that lost its power), and what old ones printed."""
        place = own_place()
        old = time.time() - OUTPUT_DAYS * 86400
        for path in [*place.glob("*.json"), *place.glob("*.out")] if place.is_dir() else ():
            if path.stem.isdigit() and path.stem not in running:
                with contextlib.suppress(OSError):
                    if path.suffix == ".json" or path.stat().st_mtime < old:
                        path.unlink()
