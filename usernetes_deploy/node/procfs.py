"""What the kernel says of processes, and what it does for their parents. The driver uses it for its own host."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send SIGKILL, or another signal, when the parent dies (called between fork and exec)."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); None when it is gone.

    A process id with its start time cannot be taken for a later process of the same number.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def child_named(parent: int, *names: str) -> int | None:
    """The child of `parent` whose program's name begins with one of `names`; None without one."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                program, _, fields = stat.partition("(")[2].rpartition(")")
                if program.startswith(names) and fields.split()[1] == str(parent) and fields.split()[0] != "Z":
                    return int(entry.name)
    return None


def own_processes(fits: Callable[[list[str]], bool]) -> Iterator[int]:
    """The user's living processes whose argv `fits`; this one and its parent are left out."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid != os.getuid():
                continue
            argv = os.fsdecode(Path(entry.path, "cmdline").read_bytes()).split("\0")[:-1]
            if argv and fits(argv) and start_time(int(entry.name)):
                yield int(entry.name)


def wait_for_end(pid: int, parent: int) -> bool:
    """Sleep until process `pid` ends; whether it did so while `parent` lived."""
    began = start_time(pid)
    try:
        descriptors = [os.pidfd_open(pid), os.pidfd_open(parent)]
    except (OSError, AttributeError):  # Linux < 5.3 has no such thing, nor has a Python built there
        while began is not None and start_time(pid) == began and start_time(parent) is not None:
            time.sleep(5)
    else:
        try:
            select.select(descriptors, [], [])
            select.select(descriptors[1:], [], [], 1)  # it may have ended because its parent is about to
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    return start_time(parent) is not None and start_time(pid) is None
