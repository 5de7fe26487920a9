"""Steps of a job: how commands and nodes are run on its hosts, beside the job's own steps.

A step overlaps: it takes no CPU, memory or device from the job's own ``srun``s, and is not counted among its tasks. Its
client here relays input and output; a node's client stays for the node's life, in a session of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.launch.base import Completed
from usernetes_deploy.node.config import in_memory
from usernetes_deploy.waiting import retry, until

START_SECONDS = 60.0
# What `srun` adds to the output of a command: its exit code comes as ours, too.
_REMARKS = re.compile(
    r"^srun: (error: \S+: task \d+: (Exited with exit|Killed|Terminated)|Terminating|launch/slurm|cluster config).*"
)
# No step came to be: `srun`'s own words, of which some pass by themselves (slurmctld has just been started again).
_REFUSED = re.compile(r"^srun: error: (Unable to|Task launch|Invalid|Required node|Requested|.*expired|slurm_).*", re.M)
_PASSING = re.compile(
    r"Memory required by task|nodes are busy|Unable to contact|temporarily|Connection refused|Socket timed out"
)
PASSING_SECONDS = 20.0
# The caller's options would be taken from its environment: those of its own job, as a task count.
_OWN = ("SLURM_JOB_ID", "SLURM_CONF")


def argv_for(job: str, host: str, argv: Sequence[str], *options: str) -> list[str]:
    """The command line that runs `argv` on one host of a job; in ``/``, for our own directory need not exist there.

    >>> argv_for("12", "n1", ["hostname"])[:4]
    ['srun', '--jobid=12', '--overlap', '--nodelist=n1']
    """
    return [
        *("srun", f"--jobid={job}", "--overlap", f"--nodelist={host}", "--nodes=1", "--ntasks=1", "--mem=0"),
        *("--mpi=none", "--cpu-bind=none", "--kill-on-bad-exit=0", "--unbuffered", "--chdir=/"),
        *options,
        "--",
        *argv,
    ]


def environment() -> dict[str, str]:
    """Our environment without what a batch script's own options left in it: they would be those of every step."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SRUN_", "SBATCH_", "SALLOC_")) or name in _OWN
    }


class Steps:
    """Runs steps, and ends those still under way when asked to."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, job: str, host: str, node: str, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Completed:
        """Run `argv` to its end; after `timeout` seconds it is killed over there, and `TimedOut` raised.

        A step that Slurm refuses for the moment is asked for again; one that it refuses is a `UsernetesError`.
        """
        return retry(lambda: self._once(job, host, node, argv, stdin, timeout), PASSING_SECONDS, _passes, pause=0.5)

    def _once(self, job: str, host: str, node: str, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        limit = f"{timeout:g}"
        over_there = ["timeout", "--kill-after=1", limit, *argv] if timeout < 3600 else list(argv)
        process = _popen(argv_for(job, host, over_there))
        with self._lock:
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(stdin, timeout + 2)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"not done after {timeout:g} s", node=node, tried=shlex.join(argv)) from None
        finally:
            _end(process)
            with self._lock:
                self._running.discard(process)
        said = _without_remarks(stderr.decode(errors="replace"))
        code = process.returncode
        if code == 124 and timeout < 3600:
            raise TimedOut(f"not done after {timeout:g} s", node=node, tried=shlex.join(argv))
        if code and not stdout and _REFUSED.search(said):
            raise UsernetesError(_reason(said), node=node, tried=f"srun --jobid={job} --nodelist={host}")
        if 128 < code <= 128 + signal.SIGRTMAX:
            code = 128 - code
        return Completed(argv, code, stdout.decode(errors="replace"), said)

    def stream(self, job: str, host: str, argv: Sequence[str]) -> int:
        """Run `argv` with its output going to ours, until it ends or we are interrupted; returns its exit code."""
        line = argv_for(job, host, argv, "--quiet")
        return subprocess.run(line, env=environment(), stdin=subprocess.DEVNULL, check=False).returncode

    def start(self, job: str, host: str, node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, int]:
        """Start `argv` as a step that stays, and hand it `stdin`; returns its process id there, and its client's here.

        Raises `UsernetesError` with the reason when it does not start.
        """
        return retry(lambda: self._start(job, host, node, argv, stdin), PASSING_SECONDS, _passes, pause=0.5)

    def _start(self, job: str, host: str, node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, int]:
        said = os.memfd_create("usernetes-step", os.MFD_CLOEXEC)
        blob = in_memory(stdin)
        try:
            client = subprocess.Popen(
                argv_for(job, host, ["sh", "-c", 'echo "pid $$"; exec "$@" >/dev/null 2>&1', "sh", *argv]),
                stdin=blob,
                stdout=said,
                stderr=said,
                env=environment(),
                start_new_session=True,
            )
            return self._number(client, said, node, argv), client.pid
        finally:
            os.close(blob)
            os.close(said)

    def _number(self, client: subprocess.Popen[bytes], said: int, node: str, argv: Sequence[str]) -> int:
        def look() -> str:
            found = re.search(r"^pid (\d+)$", _all_of(said), re.MULTILINE)
            return found[1] if found else ""

        try:
            found = until(
                look,
                START_SECONDS,
                "the step has begun",
                pause=0.02,
                longest=0.2,
                alive=lambda: client.poll() is None or bool(look()),
            )
        except UsernetesError as error:
            _end(client)
            raise type(error)(_reason(_all_of(said)) or error.reason, node=node, tried=shlex.join(argv)) from None
        threading.Thread(target=client.wait, name=f"client of {node}", daemon=True).start()  # it leaves no zombie
        return int(found)

    def kill_running(self) -> None:
        """End the short commands that are still under way."""
        with self._lock:
            running = list(self._running)
        for process in running:
            process.terminate()


def _popen(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise UsernetesError(f"{argv[0]}: {error.strerror}", remedy="load Slurm's module") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """A client that is told to end (SIGTERM) takes its step along; one that is killed does not."""
    if process.poll() is None:
        process.terminate()
        ends = time.monotonic() + 2
        while process.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


def _passes(error: UsernetesError) -> bool:
    return bool(_PASSING.search(error.reason))


def _all_of(descriptor: int) -> str:
    return os.pread(descriptor, 65536, 0).decode(errors="replace")


def _without_remarks(said: str) -> str:
    lines = [line for line in said.splitlines(keepends=True) if not _REMARKS.match(line)]
    return "".join(lines)


def _reason(said: str) -> str:
    lines = [line.removeprefix("srun: ").removeprefix("error: ").strip() for line in said.splitlines()]
    return next((line for line in lines if line and not line.startswith("pid ")), "")
