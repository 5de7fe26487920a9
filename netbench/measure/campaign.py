"""Runs a plan: one record after the other, resumed where it was interrupted; nothing is thrown away silently.

The folder of a campaign holds ``plan.json``, ``lock``, ``cluster.log`` and ``runs/ID/`` with the record and the raw
outputs of each run. What a broken or interrupted attempt left is kept beside it as ``ID.attempt-N``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from netbench.cases import CASES
from netbench.cases.base import Setup
from netbench.cases.software import MissingSoftware, Software, find_software
from netbench.measure.conditions import Campaign
from netbench.measure.one_run import remember, run_one
from netbench.places.cluster import Stage
from netbench.places.hosts import host_seats
from netbench.places.scratch import hand_out, make, scratch_of, take_back
from netbench.plan.document import Plan, to_json
from netbench.plan.runs import Run, runs_of
from netbench.records.record import SUFFIX, RecordError, load
from usernetes_deploy import __version__
from usernetes_deploy.errors import UsageError


@dataclass
class CampaignResult:
    """What became of a campaign: run ids by fate, and the reason of each failure."""

    done: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    interrupted: bool = False
    missing: int = 0

    @property
    def exit_code(self) -> int:
        """0: every run has its figures; 4: all that failed hung; 1: something else failed, or it was interrupted."""
        if self.interrupted or self.missing:
            return 1
        if not self.failed:
            return 0
        return 4 if all(reason.startswith("hangs:") for reason in self.failed.values()) else 1


def run_plan(
    plan: Plan, out: Path, *, retry: bool = False, say: Callable[[str], None] = print, deadline: float | None = None
) -> CampaignResult:
    """Make all runs of `plan` that `out` does not hold yet; with `retry`, those again that failed.

    `deadline`: seconds after which no further run is begun. Raises `UsageError` for a folder of another plan, or one
    in which another netbench is at work, and for a cluster that lacks what a place needs.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _same_plan(plan, out)
        runs, left_out = runs_of(plan)
        outcome = CampaignResult(left_out=left_out)
        for reason in left_out:
            say(f"left out: {reason}")
        wanted = [run for run in runs if retry or not _record(out, run).is_file()]
        campaign, stage = _prepare(plan, out, wanted, say)
        runner = _Runner(out, len(runs), campaign, stage, outcome, say, retry)
        ends = time.monotonic() + deadline if deadline else None
        try:
            stage.require({run.place for run in wanted})
            for run in runs:
                if ends and time.monotonic() > ends:
                    outcome.missing += 1
                    continue
                runner.make(run)
        except KeyboardInterrupt:
            outcome.interrupted = True
            say("interrupted; the same command goes on from here")
        finally:
            stage.close()
            take_back(campaign.software.scratch, stage.seats)
        if outcome.missing:
            say(f"{outcome.missing} runs were not begun before the deadline; the same plan and folder go on from here")
        return outcome


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two campaigns do not mix. Raises `UsageError` that names the holder."""
    with (out / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise UsageError(f"{out} is in use by another netbench, process {lock.read().strip() or '?'}") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _same_plan(plan: Plan, out: Path) -> None:
    path, text = out / "plan.json", to_json(plan)
    if path.is_file():
        held = path.read_text(encoding="utf-8")
        if held != text:
            pairs = zip(held.splitlines(), text.splitlines(), strict=False)
            first = next((f"{a.strip()!r} there, {b.strip()!r} now" for a, b in pairs if a != b), "its length")
            raise UsageError(
                f"{out} holds runs of another plan; the first difference: {first}",
                remedy="give another folder with --out, or the old plan",
            )
        return
    path.write_text(text, encoding="utf-8")


def _record(out: Path, run: Run) -> Path:
    return out / "runs" / run.id / f"{run.id}{SUFFIX}"


def _prepare(plan: Plan, out: Path, runs: list[Run], say: Callable[[str], None]) -> tuple[Campaign, Stage]:
    wanted = plan.software
    scratch = scratch_of(out, wanted.scratch)
    make(scratch)
    software = find_software(scratch, wanted.prefixes, wanted.modules, wanted.hns, plan.mpi.launcher)
    seats = host_seats(plan)
    files = _files(runs, software)
    if got := hand_out(scratch, seats):
        say(f"netbench's programs and inputs were handed out to {', '.join(got)}")
    topology = {host.name: host.topology for host in plan.hosts}
    stage = Stage(plan, seats, software.mounts(files), out / "cluster.log", say)
    return Campaign(plan, software, topology, stage.idle_cost, _versions(plan.mpi.launcher, software)), stage


def _versions(launcher: str, software: Software) -> dict[str, str]:
    """Of what is the same for all runs."""
    versions = {"netbench": __version__, "libc": " ".join(platform.libc_ver())}
    try:
        argv = [launcher if launcher in ("flux", "srun") else str(software.mpiexec()), "--version"]
        said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout
    except (MissingSoftware, OSError, subprocess.TimeoutExpired):
        return versions
    found = said_version(said)
    return versions | ({"mpi" if launcher in ("hydra", "openmpi") else launcher: found} if found else {})


def said_version(said: str) -> str | None:
    """The version in what a launcher prints for ``--version``; None where there is none.

    >>> [said_version(line) for line in ("    Version:  4.3.1", "commands:\t 0.88.0", "slurm 24.05.1", "mpirun")]
    ['4.3.1', '0.88.0', '24.05.1', None]
    >>> [said_version(line) for line in ("mpirun (Open MPI) 5.0.7", "mpirun.openmpi (OpenRTE) 4.1.4")]
    ['5.0.7', '4.1.4']
    """
    found = re.search(r"(?:Version:|\((?:Open MPI|OpenRTE)\)|commands:|slurm)\s*(\S+)", said)
    return found[1] if found else None


def _files(runs: list[Run], software: Software) -> list[str]:
    """Every file that some run reads on its nodes; what is missing is said by the run that misses it."""
    files: list[str] = []
    for run in {(run.case, run.cell): run for run in runs}.values():
        case = CASES[run.case]
        try:
            command = case.command(Setup(software, run.node_count, run.ranks, run.parameters))
            files += [*command.binaries.values(), *command.inputs.values()]
            if case.kind == "mpi" and software.launcher in ("hydra", "openmpi"):
                files.append(str(software.mpiexec()))
        except MissingSoftware:
            continue
    return files


@dataclass
class _Runner:
    """The runs of one folder while they are being made."""

    out: Path
    total: int
    campaign: Campaign
    stage: Stage
    outcome: CampaignResult
    say: Callable[[str], None]
    retry: bool

    def make(self, run: Run) -> None:
        """Make `run`, unless its folder holds it already."""
        folder = self.out / "runs" / run.id
        if _record(self.out, run).is_file() and self._keep(run, folder):
            return
        started = time.monotonic()
        reason = self._attempt(run, folder)
        turn = "warm-up" if run.warmup else str(run.repeat)
        what = f"{run.case} {run.place} n{run.node_count} r{run.ranks} {turn}"
        line = f"[{run.order + 1:4d}/{self.total}] {what:50s} {time.monotonic() - started:6.1f} s"
        if reason is None:
            self.outcome.done.append(run.id)
            self.say(line)
        else:
            self.outcome.failed[run.id] = reason
            self.say(f"{line}  FAILED: {reason}")

    def _attempt(self, run: Run, folder: Path) -> str | None:
        """Why there is no figure, or None."""
        try:
            notes = _set_aside(folder)
            folder.mkdir(parents=True)
            record = run_one(run, self.campaign, folder, lambda: self.stage.place(run.place))
            if run.state != "none":
                record = replace(
                    record,
                    versions={**record.versions, **self.stage.versions},
                    notes=(*record.notes, *self.stage.notes),
                )
            replace(record, notes=(*record.notes, *notes)).save(folder)
        except RecordError as error:
            return f"the record is not valid: {error.problems}"
        except OSError as error:
            # there is no record, so the run is made when the plan is run once more
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return f"{'disk full' if full else 'the record could not be written'}: {error}"
        return None if record.sanity.ok else record.sanity.reason

    def _keep(self, run: Run, folder: Path) -> bool:
        """Whether the record that is there stands; a failed or damaged one is made again only if asked for."""
        try:
            record = load(folder / f"{run.id}{SUFFIX}")
        except RecordError as error:
            reason = " ".join(str(error).split())
        else:
            if record.sanity.ok:
                self.outcome.resumed.append(run.id)
                remember(self.campaign, run, record)
                return True
            reason = record.sanity.reason
        if self.retry:
            return False
        self.outcome.failed[run.id] = reason
        self.say(f"[{run.order + 1:4d}/{self.total}] {run.id} stands as failed (--retry makes it again): {reason}")
        return True


def _set_aside(folder: Path) -> tuple[str, ...]:
    """Keep what an earlier attempt left."""
    if not folder.exists():
        return ()
    number = 1
    while (aside := folder.with_name(f"{folder.name}.attempt-{number}")).exists():
        number += 1
    folder.rename(aside)
    # its record must not be counted beside that of the new attempt
    for record in aside.glob(f"*{SUFFIX}"):
        record.rename(record.with_name(f"{record.name}.superseded"))
    return (f"an earlier attempt failed or was interrupted; kept in {aside.name}",)
