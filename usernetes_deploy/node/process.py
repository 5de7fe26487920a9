"""One supervised component: started, watched without polling, started again with backoff, its log kept short.

>>> web = Component("web", ["httpd", "-f"], log=Path("/tmp/web.log"))  # doctest: +SKIP
>>> web.start(); web.snapshot()["state"]  # doctest: +SKIP
'running'
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 30.0
CALM = 60.0  # a component that ran this long starts again without delay
LOG_LIMIT = 16 << 20
SOON = 0.02  # seconds between looks for what takes moments


class Component:
    """A process that has to run as long as the node does.

    `prepare` is called before each start; `started` after each start, with the process, and may take its time: the
    component counts as ready when it returns. `stdin` is called at each start: the bytes that it returns become the
    process' standard input.
    `timer_slack`, in seconds, lets the kernel wake the process so much later than it asked, and so less often: Go's own
    monitor sleeps 20 microseconds at a time.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        stdin: Callable[[], bytes] = lambda: b"",
        prepare: Callable[[], object] | None = None,
        started: Callable[[subprocess.Popen[bytes]], None] | None = None,
        changed: Callable[[], None] = lambda: None,
        timer_slack: float = 0.0,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self.env = dict(env or {})
        self.stdin = stdin
        self.prepare = prepare
        self.started = started
        self.changed = changed
        self.timer_slack = timer_slack
        self.ready = threading.Event()
        self.state = "waiting"
        self.restarts = 0
        self.since = time.time()
        self.last_exit: str | None = None
        self.deaths = 0  # ends of its own in a row, each less than `CALM` seconds after a start
        self.last_words: str | None = None  # what its log said at the last of them
        self.pid: int | None = None
        self._why = ""
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it in a thread of its own and return at once."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self, grace: float = 0.0) -> None:
        """End it for good: SIGTERM, and SIGKILL after `grace` seconds (0: at once)."""
        self._stopping.set()
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(OSError):
            if grace:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(grace)
                    return
            process.kill()

    def restart(self, why: str) -> None:
        """Kill its process, so that it starts again with what `prepare` and `stdin` say now; `why` is for status."""
        process = self._process
        if process is not None and process.poll() is None:
            self._why = why
            process.kill()

    def snapshot(self) -> dict[str, Any]:
        """What `status` says of it; `since` is seconds since the epoch."""
        return {
            "name": self.name,
            "state": self.state,
            "pid": self.pid,
            "restarts": self.restarts,
            "since": round(self.since, 3),
            "lastExit": self.last_exit,
            "deaths": self.deaths,
            "lastWords": self.last_words,
        }

    def rotate(self, limit: int = LOG_LIMIT) -> None:
        """Keep `limit` bytes at most twice: the log is copied to ``.1`` and cut, for its writer keeps it open."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > limit:
                with self.log.open("rb") as whole:
                    whole.seek(-limit, os.SEEK_END)
                    self.log.with_suffix(".log.1").write_bytes(whole.read())
                os.truncate(self.log, 0)

    def _run(self) -> None:
        backoff = FIRST_BACKOFF
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                reason = self._once()
            except Exception as error:  # nobody else would see it, and the component would be gone
                reason = str(error) or type(error).__name__
            reason, self._why = self._why or reason, ""
            if self._stopping.is_set():
                break
            if time.monotonic() - began > CALM:
                backoff = FIRST_BACKOFF
            self.restarts += 1
            self.last_exit = reason
            self._become("backing off")
            self._stopping.wait(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF)
        self._become("stopped")

    def _once(self) -> str:
        """Run it once to its end; the reason why it ended."""
        try:
            if self.prepare:
                self.prepare()
            words = self.stdin()
        except Exception as error:  # whatever keeps it from starting is its reason, shown by status
            return str(error) or type(error).__name__
        began = time.monotonic()
        try:
            with self.log.open("ab") as log:
                said_before = log.tell()
                process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.PIPE if words else subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.env},
                    start_new_session=True,
                )
        except OSError as error:
            return f"{shlex.join(self.argv[:3])}: {error.strerror or error}"
        if self.timer_slack:  # threads inherit it; kernels that do not let us go on as they were
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/timerslack_ns").write_text(f"{self.timer_slack * 1e9:.0f}")
        self._process, self.pid = process, process.pid
        self._become("starting" if self.started else "running")
        try:
            if process.stdin:
                with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                    pipe.write(words)
            if self.started:
                self.started(process)
        except Exception as error:
            if process.poll() is None:
                process.kill()
                process.wait()
                self.pid = None
                return str(error) or type(error).__name__
        if process.poll() is None:
            self.ready.set()
            self._become("running")
        process.wait()
        self.ready.clear()
        self.pid = None
        if not self._why:
            self.deaths = self.deaths + 1 if time.monotonic() - began < CALM else 1
            self.last_words = last_words(tail(self.log, 200, after=said_before)) or None
        return how_it_ended(process.returncode)

    def _become(self, state: str) -> None:
        self.state = state
        self.since = time.time()
        self.changed()


def how_it_ended(returncode: int) -> str:
    """
    >>> how_it_ended(-9), how_it_ended(3)
    ('killed by SIGKILL', 'exit code 3')
    """
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exit code {returncode}"


def tail(path: Path, lines: int = 5, after: int = 0) -> list[str]:
    """The last `lines` lines of a log, of what was written `after` so many bytes; [] when there is none."""
    try:
        with path.open("rb") as log:
            size = path.stat().st_size
            log.seek(max(0, size - 64 * 1024, after if after <= size else 0))  # it was cut meanwhile: all of it
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


# klog's head of an error or a fatal end; then what other loggers write of one, and Go's and Python's own last line.
KLOG = re.compile(r"^[EF]\d{4} [\d:.]+ +\d+ [^]]+\] ")
COMPLAINT = re.compile(
    r"^(panic|fatal error|Error|error): |[\"\[=](error|fatal|panic|ERROR|FATAL)[\"\]\s]|^\w*(Error|Exception)\b"
)
LONGEST_WORDS = 400  # characters


def last_words(lines: Sequence[str]) -> str:
    """Of what a process wrote before it ended, the line that tells why: its last complaint, else its last line.

    >>> last_words(['I1127 09:00:00.5 7 a.go:1] "on"', 'E1127 09:00:01.5 7 run.go:72] "command failed" err="no"', ""])
    '"command failed" err="no"'
    """
    said = [line.strip() for line in lines if line.strip()]
    for line in reversed(said):
        if KLOG.search(line) or COMPLAINT.search(line):
            return KLOG.sub("", line)[:LONGEST_WORDS]
    return said[-1][:LONGEST_WORDS] if said else ""
