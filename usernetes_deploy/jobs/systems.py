"""The batch systems that are known, and which one is meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.jobs.batch import BatchJob, BatchSystem, JobLauncher
from usernetes_deploy.launch.flux.system import FluxSystem
from usernetes_deploy.launch.slurm.system import SlurmSystem


def every() -> list[BatchSystem]:
    """All batch systems, whether they are here or not."""
    return [FluxSystem(), SlurmSystem()]


def here() -> list[BatchSystem]:
    """Those whose commands are in PATH."""
    return [system for system in every() if system.available()]


def named(launcher: str) -> BatchSystem | None:
    """The batch system behind the launcher of this name; None for launchers that need none."""
    return next((system for system in every() if system.name == launcher), None)


def own() -> tuple[BatchSystem, BatchJob]:
    """The batch system and the job that this process is in. Raises `UsageError` outside a job."""
    silent: UsernetesError | None = None
    for system in here():
        try:
            job = system.own_job()
        except UsernetesError as error:  # its commands are here, and nobody answers: it may be another system's job
            silent = silent or error
            continue
        if job:
            return system, job
    if silent:
        raise silent
    known = here() or every()
    raise UsageError(
        f"this is not inside a {' or '.join(system.title for system in known)} job",
        remedy="; ".join(system.submit_remedy for system in known),
    )


def names_job(text: str) -> bool:
    """Whether `text` is spelt like the id of a job. Without any batch system, as one of them would spell it."""
    return any(system.names_job(text) for system in here() or every())


def find(text: str) -> BatchJob:
    """The job with the id `text`. Raises `UsageError` when there is none."""
    known = here()
    spelt = [system for system in known or every() if system.names_job(text)]
    refused: UsageError | None = None
    for system in spelt:
        try:
            return system.job(text)
        except UsageError as error:
            refused = refused or error
    raise refused or UsageError(f"{text!r} is no id of a job", remedy="usernetes list")


def of_record(launcher: Mapping[str, Any]) -> BatchSystem | None:
    """The batch system whose job is the cluster with this launcher state; None for other clusters."""
    return named(str(launcher.get("launcher", ""))) if launcher.get("job") else None


def job_of(launcher: Mapping[str, Any]) -> BatchJob:
    """The job that is the cluster with this launcher state. Raises `UsageError` when it is in none."""
    system = of_record(launcher)
    if system is None:
        raise UsageError("this cluster is in no job")
    return system.job(str(launcher["job"]))


def launcher_of(launcher: Mapping[str, Any], program: Path) -> JobLauncher:
    """The launcher of a cluster that is in a job."""
    system = of_record(launcher)
    if system is None:
        raise UsernetesError("this cluster is in no job", tried="find its hosts")
    return system.launcher_from_state(launcher, program)
