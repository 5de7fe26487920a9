"""A Slurm job as the code about jobs sees it (`jobs.batch.BatchJob`).

A word on the cluster's state goes into the job's comment, where ``squeue -o %k`` shows it to everybody. The cluster's
record is a file in the home of the job's user on the first host (0600); where that home is not shared, it is read and
written by a step of the job.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from usernetes_deploy.errors import TAIL_LINES, Secret, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed
from usernetes_deploy.launch.slurm.commands import ACTIVE, PENDING, Commands, Entry
from usernetes_deploy.launch.slurm.steps import Steps

NOTE = "usernetes"
JOINS = "usernetes_joins"
STEP_SECONDS = 30.0
# Where records are, on whichever host it is run; $1 is the job's number. Umask first: nothing is ever open to others.
PLACE = 'umask 077; place="${XDG_STATE_HOME:-$HOME/.local/state}/usernetes/.jobs"; file="$place/$1.json"; '
READ = PLACE + '[ -e "$file" ] || exit 66; [ -O "$file" ] && [ ! -L "$file" ] || exit 65; cat "$file"'
WRITE = PLACE + 'mkdir -p "$place" && cat >"$file.half" && mv -f "$file.half" "$file"'
REMOVE = PLACE + 'rm -f "$file"'
ABSENT, FOREIGN = 66, 65


@dataclass(frozen=True)
class SlurmJob:
    """The job that `entry` describes.

    >>> SlurmJob(Commands(), Commands().job("12")).cluster  # doctest: +SKIP
    'ready'
    """

    slurm: Commands
    entry: Entry
    steps: Steps = field(default_factory=Steps)

    @property
    def id(self) -> str:
        """The id as Slurm prints it: ``12``, ``12_4`` for a task of an array."""
        return self.entry.id

    @property
    def slug(self) -> str:
        """The id for names: ``12-4``."""
        return self.entry.id.replace("_", "-").replace("+", "-")

    @property
    def user_id(self) -> int:
        """The uid of the job's user."""
        return self.entry.user_id

    @property
    def state(self) -> Literal["pending", "running", "ending", "ended"]:
        """Where the job is in its life."""
        if self.entry.state in PENDING:
            return "pending"
        if self.entry.state == "COMPLETING":
            return "ending"
        return "running" if self.entry.state in ACTIVE else "ended"

    @property
    def word(self) -> str:
        """The state as Slurm calls it; a pending job's with its reason, and when it is expected to start."""
        if self.state != "pending":
            return self.entry.state
        starts = self.entry.starts if self.entry.starts[:1].isdigit() else ""
        return f"{self.entry.state} ({self.entry.reason}{f', expected to start {starts}' if starts else ''})"

    @property
    def result(self) -> str:
        """How the job ended: ``cancelled``, ``failed (exit code 3)``; "" before."""
        if self.state != "ended":
            return ""
        try:
            code, _, number = self.slurm.details(self.entry.number).get("ExitCode", "").partition(":")
        except UsernetesError:
            code = number = ""
        why = (
            f" (exit code {code})"
            if code not in ("", "0")
            else f" (signal {number})"
            if number not in ("", "0")
            else ""
        )
        return f"{self.entry.state.lower()}{why}"

    @property
    def hosts(self) -> str:
        """The job's hosts as a host list."""
        return self.entry.hosts

    @property
    def cluster(self) -> str:
        """What the job's comment says of the cluster in it; "" for a job without one, as one that was put back."""
        return "" if self.state == "pending" else self.entry.notes.get(NOTE, "")

    @property
    def commands(self) -> Mapping[Literal["show", "cancel", "output"], str]:
        """Commands for remedies."""
        return {
            "show": f"squeue --jobs={self.id} --start",
            "cancel": f"scancel {self.id}",
            "output": f"cat {own_place()}/{self.entry.number}.out, or the StdOut of: scontrol show job {self.id}",
        }

    def again(self) -> SlurmJob:
        """The job as it is now."""
        return SlurmJob(self.slurm, self.slurm.job(self.entry.id), self.steps)

    def announce(self, state: str) -> None:
        """Put `state` into the job's comment."""
        self.slurm.note(self.entry, NOTE, state)

    def hold_for(self, cluster: str) -> None:
        """Say in the comment that the job's hosts are for the cluster of the job `cluster`."""
        self.slurm.note(self.entry, JOINS, cluster)

    def holding(self) -> Sequence[SlurmJob]:
        """The running jobs whose hosts are held for this job's cluster."""
        held = (SlurmJob(self.slurm, entry, self.steps) for entry in self.slurm.jobs())
        return [job for job in held if job.entry.notes.get(JOINS) == self.id and job.state == "running"]

    def publish(self, record: Mapping[str, Secret]) -> None:
        """Store the record on the first host, for the job's user alone; it travels on stdin."""
        document = json.dumps({name: content.reveal() for name, content in record.items()})
        self._file(WRITE, document.encode()).check(self.entry.first)

    def withdraw(self, timeout: float = STEP_SECONDS) -> None:
        """Remove the record; fine when there is none."""
        path = own_place() / f"{self.entry.number}.json"
        if path.exists():
            path.unlink(missing_ok=True)
        elif not self.is_first_host() and self.state == "running":
            self._file(REMOVE, timeout=timeout)

    def record(self) -> Mapping[str, Secret] | None:
        """The cluster's record; None until the job has published one."""
        tried = f"read the record of job {self.id}"
        path = own_place() / f"{self.entry.number}.json"
        if path.exists():
            if path.is_symlink() or path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
                raise UsernetesError("it is not yours alone", tried=f"read {path}", remedy=f"ls -l {path}")
            text = path.read_text(encoding="utf-8")
        else:
            done = self._file(READ)
            if done.returncode == ABSENT:
                return None
            text = done.check(self.entry.first).stdout
        try:
            return {str(name): Secret(str(content)) for name, content in json.loads(text).items()}
        except (ValueError, AttributeError):
            raise UsernetesError("not as usernetes wrote it", tried=tried) from None

    def end_session(self, pid: int) -> None:
        """Tell the job's session on the first host to end as it does before its time limit."""
        self._on_first(["kill", "-USR1", str(pid)]).check(self.entry.first)

    def end_holding(self) -> None:
        """Ask a job that holds hosts to end: its script is told, none of its steps."""
        self.slurm.command("scancel", "--batch", "--signal=USR1", self.entry.number)

    def holds_any(self, launcher: Mapping[str, Any]) -> bool:
        """Whether a host of this job is a member of the cluster with this launcher."""
        return any(str(host["where"]).partition("/")[0] == self.entry.number for host in launcher["hosts"])

    def last_words(self) -> Sequence[str]:
        """The last lines of the job's output file, where it can be read from here."""
        try:
            path = own_place() / f"{self.entry.number}.out"  # of a job that `usernetes` submitted
            if not path.exists():
                path = Path(self.slurm.details(self.entry.number)["StdOut"])
            return path.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        except (OSError, KeyError, UsernetesError):
            return []

    def is_first_host(self) -> bool:
        """Whether this process is on the job's first host."""
        return self.entry.first.partition(".")[0] == socket.gethostname().partition(".")[0]

    def _file(self, script: str, stdin: bytes = b"", timeout: float = STEP_SECONDS) -> Completed:
        return self._on_first(["sh", "-c", script, "sh", self.entry.number], stdin, timeout)

    def _on_first(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = STEP_SECONDS) -> Completed:
        if not self.entry.first:
            raise UsageError(f"job {self.id} has no hosts yet", remedy=self.commands["show"])
        return self.steps.run(self.entry.number, self.entry.first, self.entry.first, argv, stdin=stdin, timeout=timeout)


def own_place() -> Path:
    """Where the records of jobs are on this host (see `PLACE`)."""
    base = os.environ.get("XDG_STATE_HOME") or f"{os.environ.get('HOME') or Path.home()}/.local/state"
    return Path(base) / "usernetes" / ".jobs"
