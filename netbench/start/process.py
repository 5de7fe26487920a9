"""Runs one command line with a time limit, its output going straight to files, and says in one line why it failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE = 5.0
LOST = re.compile(r"PID (\d+) RUNNING AT (\S+)\s*\n=\s+EXIT CODE: (\d+)")
LOST_HOW = re.compile(r"EXIT STRING: (.+)")
MISSING = re.compile(r"execvp error on file (\S+) \((.+)\)|(\S+): (?:not found|No such file or directory)$", re.M)
CHATTER = re.compile(
    r"^(?:\[(?:proxy|mpiexec)|=|YOU CAN IGNORE|netbench rank |Please see the FAQ|This typically refers)"
)


@dataclass(frozen=True)
class Ended:
    """How a command ended; the texts are read back from its files."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False

    def why(self, limit: float) -> str | None:
        """The reason it gives no figure, or None for a clean end.

        >>> Ended(("x",), 1, "", "x: cannot open display\\n", 0.1).why(10)
        'exit code 1: x: cannot open display'
        """
        text = self.stdout + "\n" + self.stderr
        if self.timed_out:
            return f"hangs: no end within {limit:g} s, was killed"
        if self.exit_code == 0:
            return None
        if "No space left on device" in text:
            return "disk full: No space left on device"
        lost = LOST.search(text)
        if lost:
            how = LOST_HOW.search(text)
            said = how[1] if how else f"exit code {lost[3]}"
            return f"a rank was lost on {lost[2]}: {said}{_last_words(text)}"
        missing = MISSING.search(self.stderr)
        if missing:
            return f"{missing[1] or missing[3]} is missing on a node"
        code = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit code {self.exit_code}"
        return code + _last_words(text)


def execute(argv: Sequence[str], limit: float, stdout: Path, stderr: Path, env: dict[str, str] | None = None) -> Ended:
    """Run `argv` to its end, or end it (and all it started here) after `limit` seconds."""
    started = time.monotonic()
    timed_out = False
    with stdout.open("wb") as out, stderr.open("wb") as err:
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, env=env
            )
        except OSError as error:
            return Ended(tuple(argv), 127, "", f"{argv[0]}: {error.strerror}", 0.0)
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            timed_out = True
            end(process)
        except BaseException:
            end(process)
            raise
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (stdout, stderr)]
    return Ended(tuple(argv), process.returncode, texts[0], texts[1], time.monotonic() - started, timed_out)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, and kill it after a few seconds. hydra's daemons end when it does."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=GRACE)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _last_words(text: str) -> str:
    """The last line that is not the launcher's own."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not CHATTER.match(line)]
    return f": {lines[-1][:200]}" if lines else ""
