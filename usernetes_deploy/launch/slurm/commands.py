"""Slurm's commands as they are asked: what they print, as values.

Only ``squeue``, ``scontrol``, ``sacct`` and ``sinfo`` in their plain form are used, which all releases from 20.11 on
have; JSON output depends on how Slurm was built.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from usernetes_deploy.errors import CommandFailed, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.slurm.shares import JobPart, parse_parts

SECONDS = 30.0  # slurmctld answers within milliseconds, or is down
OLDEST = (20, 11)  # the first release whose `srun` has --overlap
UNKNOWN = ("Invalid job id specified", "Invalid job array ID")
# One line a job; the comment comes last, for it may hold anything.
FORMAT = "%i|%A|%U|%T|%r|%N|%S|%B|%k"
PENDING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
ACTIVE = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING"}
_WORD = re.compile(r"(usernetes\w*)=(\S+)")


@dataclass(frozen=True)
class Entry:
    """A job as ``squeue`` lists it.

    `id` is what users type (``12``, ``12_4``, ``12+1``), `number` Slurm's own (each task of an array has one).
    `state` and `reason` are Slurm's words; `first` is the host that runs the script.
    """

    id: str
    number: str
    user_id: int
    state: str
    reason: str = ""
    hosts: str = ""
    starts: str = ""
    first: str = ""
    comment: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)  # our words in the comment


class Commands:
    """Runs Slurm's commands. All raise `UsernetesError` when one fails, `TimedOut` without an answer in `seconds`.

    >>> Commands().jobs()  # doctest: +SKIP
    [Entry(id='12', number='12', user_id=1000, state='RUNNING', ...)]
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds

    def available(self) -> bool:
        """Whether Slurm's commands are in PATH."""
        return all(shutil.which(name) for name in ("squeue", "scontrol", "srun", "sbatch"))

    def command(self, *argv: str, stdin: str = "", timeout: float | None = None) -> str:
        """What a command prints. Raises `CommandFailed`, `TimedOut`, or `UsernetesError` where it is not there."""
        seconds = timeout or self._seconds
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                start_new_session=True,  # what signals our job's processes as a group ends no question with it
                env={**os.environ, "SLURM_TIME_FORMAT": "standard"},
            )
        except FileNotFoundError:
            raise UsernetesError(
                f"there is no `{argv[0]}` command", remedy="load Slurm's module, or put its bin directory into PATH"
            ) from None
        except subprocess.TimeoutExpired:
            raise TimedOut(f"no answer within {seconds:g} s", tried=" ".join(argv)) from None
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)
        return done.stdout

    def version(self) -> tuple[int, int]:
        """The release: ``(22, 5)``. Raises `UsageError` for one that is too old."""
        printed = self.command("scontrol", "--version")
        found = re.search(r"(\d+)\.(\d+)", printed)
        if not found:
            raise UsernetesError(f"{printed.strip()!r} is no version of Slurm", tried="scontrol --version")
        version = (int(found[1]), int(found[2]))
        if version < OLDEST:
            raise UsageError(f"Slurm {found[0]} is too old: its srun has no --overlap (20.11 and later have)")
        return version

    def jobs(self) -> list[Entry]:
        """This user's jobs that have not ended; each task of an array is one."""
        return parse_queue(self.command("squeue", "--noheader", "--array", "--me", f"--format={FORMAT}"))

    def job(self, text: str) -> Entry:
        """The job with this id, ended ones included. Raises `UsageError` when there is none."""
        argv = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={text}", f"--format={FORMAT}"]
        try:
            found = parse_queue(self.command(*argv))
        except CommandFailed as error:
            if not any(word in error.output for word in UNKNOWN):
                raise
            found = []
        # One task of an array has the array's own number as well: a bare number means them all.
        chosen = [entry for entry in found if entry.id == text] or found
        if len(chosen) > 1:
            names = ", ".join(entry.id for entry in chosen[:4])
            raise UsageError(f"job {text} is several ({names}{', ...' if len(chosen) > 4 else ''}): name one of them")
        return chosen[0] if chosen else self._ended(text)

    def _ended(self, text: str) -> Entry:
        """A job that slurmctld has forgotten, from the accounting where there is one."""
        unknown = UsageError(
            f"there is no job {text} (Slurm forgets jobs some minutes after their end)",
            remedy="`usernetes list` shows the clusters, `squeue --me` the jobs",
        )
        try:
            printed = self.command(
                "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={text}", "--format=JobID,UID,State"
            )
        except UsernetesError:
            raise unknown from None
        line = next(iter(printed.splitlines()), "")
        if line.count("|") != 2:
            raise unknown
        name, user, state = line.split("|")
        return Entry(name, name, int(user or -1), state.split()[0])

    def details(self, number: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job, as far as its words have no spaces."""
        printed = self.command("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in printed.split() if "=" in word)

    def parts(self, number: str) -> dict[str, JobPart]:
        """What of each of its hosts a job has."""
        return parse_parts(self.command("scontrol", "--oneliner", "show", "job", "--details", number))

    def inventory(self, host: str) -> tuple[int, bool]:
        """How many CPUs a host has for Slurm, and whether it has generic resources (GRES)."""
        printed = self.command("sinfo", "--noheader", "--Node", f"--nodes={host}", "--format=%c|%G").split()
        count, _, gres = (printed[0] if printed else "0|").partition("|")
        return int(count), gres not in ("", "(null)")

    def time_left(self, number: str) -> float:
        """Seconds to a job's time limit; infinity without one."""
        return seconds_of(self.command("squeue", "--noheader", f"--jobs={number}", "--format=%L").strip())

    def host_names(self, hosts: str) -> list[str]:
        """The names in a host list: ``n[1-2]`` -> ``["n1", "n2"]``."""
        return self.command("scontrol", "show", "hostnames", hosts).split() if hosts else []

    def silent_hosts(self, hosts: Sequence[str]) -> dict[str, str]:
        """Those of `hosts` that Slurm has lost, each with the reason: down, or not responding (``*``)."""
        if not hosts:
            return {}
        printed = self.command("sinfo", "--noheader", "--Node", f"--nodes={','.join(hosts)}", "--format=%N|%T")
        states = dict(line.split("|", 1) for line in printed.split() if "|" in line)
        return {
            name: f"Slurm's node is {state}"
            for name, state in states.items()
            if state.endswith("*") or state.startswith(("down", "fail", "power"))
        }

    def note(self, entry: Entry, key: str, value: str) -> None:
        """Put ``key=value`` into a job's comment, and leave what its user wrote there."""
        now = self.job(entry.id).comment
        rest = " ".join(_WORD.sub(lambda found: "" if found[1] == key else found[0], now).split())
        comment = f"{key}={value} {rest}".strip()
        self.command("scontrol", "update", f"JobId={entry.number}", f"Comment={comment}")


def own_job_id(environment: Mapping[str, str] = os.environ) -> str:
    """The id of the job that this process is in, by its environment; "" outside one.

    >>> own_job_id({"SLURM_JOB_ID": "17"})
    '17'
    >>> own_job_id({"SLURM_JOB_ID": "17", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"})
    '17_2'
    """
    array, task = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")


def parse_queue(printed: str) -> list[Entry]:
    """The jobs that ``squeue --format=FORMAT`` printed.

    >>> parse_queue("12_4|15|1000|RUNNING|None|n[1-2]|2026-11-27T06:30:00|n1|usernetes=ready")[0].notes
    {'usernetes': 'ready'}
    """
    found = []
    for line in filter(None, printed.splitlines()):
        parts = line.split("|", 8)
        if len(parts) != 9 or not parts[2].isdigit():
            raise UsernetesError(f"not understood: {line!r}", tried="squeue")
        id_, number, user, state, reason, hosts, starts, first, comment = parts
        comment = "" if comment == "(null)" else comment
        first = "" if first == "n/a" else first
        found.append(Entry(id_, number, int(user), state, reason, hosts, starts, first, comment, notes_of(comment)))
    return found


def notes_of(comment: str) -> dict[str, str]:
    """Our words in a comment.

    >>> notes_of("usernetes=ready my own words usernetes_joins=12")
    {'usernetes': 'ready', 'usernetes_joins': '12'}
    """
    return dict(_WORD.findall(comment))


def seconds_of(text: str) -> float:
    """Slurm's way to write a time, in seconds.

    >>> [seconds_of(text) for text in ("1-02:00:00", "10:30", "0:05", "UNLIMITED", "INVALID")]
    [93600.0, 630.0, 5.0, inf, inf]
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not found:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def minutes_of(text: str) -> str:
    """A time limit as users write it (``90m``, ``2h``, ``1d``, ``30s``), as ``sbatch --time`` takes it.

    >>> [minutes_of(text) for text in ("90m", "2h", "1d", "30s", "1-02:00:00")]
    ['90', '120', '1440', '0:30', '1-02:00:00']
    """
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if not found:
        return text
    number = int(found[1])
    return f"0:{number}" if found[2] == "s" else str(number * {"m": 1, "h": 60, "d": 1440}[found[2]])
