"""Flux as a batch system (`jobs.batch.BatchSystem`)."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.flux import job as flux_job
from usernetes_deploy.launch.flux import site as flux_site
from usernetes_deploy.launch.flux.instance import Instance
from usernetes_deploy.launch.flux.job import MEMO, FluxJob
from usernetes_deploy.launch.flux.launcher import FluxLauncher
from usernetes_deploy.launch.site import Site, Wanted, refuse

DEPTH = 2  # jobs within jobs are looked through so far
_BASE58 = re.compile(r"(ƒ|f)[1-9A-HJ-NP-Za-km-z]+")
_NUMBER = re.compile(r"[0-9]{4,20}")


class FluxSystem:
    """The Flux instance that this process belongs to, or `instance`.

    >>> FluxSystem().names_job("ƒ2EqTrdbu")
    True
    """

    name = "flux"
    title = "Flux"
    submit_remedy = "usernetes up --launcher flux --nodes 4, or flux batch -N4 flux-jobs/usernetes-up.sh"

    def __init__(self, instance: Instance | None = None) -> None:
        self.instance = instance or Instance()

    def available(self) -> bool:
        """Whether there is a `flux` command in PATH."""
        return shutil.which(self.instance.flux) is not None

    def names_job(self, text: str) -> bool:
        """Whether `text` may be a job id, or a path of them into nested jobs.

        >>> [FluxSystem().names_job(text) for text in ("ƒ2EqTrdbu", "f2EqTrdbu", "ƒA3/ƒB7", "2734686208000", "default")]
        [True, True, True, True, False]
        """
        parts = [part for part in text.split("/") if part]
        return bool(parts) and all(
            _NUMBER.fullmatch(part)
            or ((found := _BASE58.fullmatch(part)) and (found[1] == "ƒ" or re.search(r"[0-9A-Z]", part)))
            for part in parts
        )

    def own_job(self) -> FluxJob | None:
        """The job that this instance is; None for the outermost."""
        parent, text = self.instance.parent(), self.instance.own_job()
        if parent is None or text is None:
            return None
        return FluxJob(parent, parent.job(text))

    def check_here(self) -> None:
        """Nothing: Flux runs a job's script beside its first broker."""

    def job(self, text: str) -> FluxJob:
        """The job `text`, or the job at the end of a path of nested jobs."""
        return flux_job.find(text, self.instance)

    def jobs(self) -> Sequence[FluxJob]:
        """The user's jobs that have not ended, and those within them that may have clusters."""
        return _jobs(self.instance, DEPTH)

    def submit(
        self, nodes: int, arguments: Sequence[str], *, name: str, time_limit: str | None, queue: str | None
    ) -> FluxJob:
        """Submit a job script; its output goes into the job's key-value space.

        >>> FluxSystem().submit(4, ["--set", "metrics=true"], name="usernetes",
        ...                     time_limit="2h", queue="debug").id  # doctest: +SKIP
        'ƒ2EqTrdbu'
        """
        script = f"#!/bin/sh\nexec {shlex.join(['usernetes', 'job', *arguments])}\n"
        options = [f"--time-limit={time_limit}"] if time_limit else []
        options += [f"--queue={queue}"] if queue else []
        argv = ["batch", f"--nodes={nodes}", f"--job-name={name}", "--output=kvs", *options]
        try:
            text = self.instance.command(*argv, stdin=script).strip()
        except CommandFailed as error:
            reason = error.output.strip().removeprefix("flux-batch: ERROR: ") or str(error)
            raise UsageError(reason, tried="flux batch") from None
        return FluxJob(self.instance, self.instance.job(text))

    def site(self) -> Site:
        """The instance's queues and hosts."""
        return flux_site.site(self.instance)

    def refuse(self, site: Site, wanted: Wanted) -> list[str]:
        """What of the wishes cannot be here."""
        charged = ["--account: usernetes knows no accounts of Flux"] if wanted.account else []
        return [*refuse(site, wanted), *charged]

    def job_files(self, site: Site, wanted: Wanted, spec: str) -> Mapping[str, str]:
        """A job script and the spec beside it."""
        return flux_site.job_files(site, wanted, spec)

    def time_left(self) -> float:
        """Seconds to our job's time limit; infinity without one."""
        try:
            return float(self.instance.command("job", "timeleft"))  # seconds, or infinity
        except (UsernetesError, ValueError):
            return math.inf

    def launcher(self, program: Path, *, count: int | None = None) -> FluxLauncher:
        """A launcher for the hosts of this instance."""
        return FluxLauncher(program, instance=self.instance, count=count)

    def launcher_from_state(self, state: Mapping[str, Any], program: Path) -> FluxLauncher:
        """The launcher of a recorded cluster."""
        return FluxLauncher.from_state(state, program)

    def before_cancel(self, document: Mapping[str, Any]) -> None:
        """End the node beside us now: its broker leads the instance, and is the last to end its children."""
        for node in document.get("nodes", ()):
            handle = node.get("handle") or {}
            with contextlib.suppress(KeyError, ProcessLookupError, FileNotFoundError):
                if handle.get("rank") == 0 and b".pyz" in Path(f"/proc/{handle['pid']}/cmdline").read_bytes():
                    os.kill(handle["pid"], signal.SIGTERM)


def _jobs(instance: Instance, depth: int) -> list[FluxJob]:
    found = []
    for job in instance.jobs():
        found.append(FluxJob(instance, job))
        if MEMO not in job.memo and depth > 1 and job.uri and job.state == "RUN":
            try:
                found += _jobs(found[-1].inside(), depth - 1)
            except UsernetesError:
                continue  # a job that is just ending, or whose host does not let us in, has no cluster to show
    return found
