"""The background work of a process: threads whose end is always seen.

A thread that dies of an exception takes its work with it and says so to nobody who looks. Here the exception is
written to stderr, kept for `status`, and the work begins again. Standard library only: nodes run this module.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before work that failed begins again
CALM = 60.0  # work that went well for so many seconds begins again after the first pause

Begin = Callable[[str, Callable[[], object]], None]  # begin this work, under this name


class Threads:
    """Work that has to go on for as long as the process does; `changed` is called when some fails or goes on.

    >>> threads = Threads()
    >>> threads.begin("count", lambda: None)
    >>> threads.snapshot()
    []
    """

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._troubles: dict[str, dict[str, Any]] = {}

    def begin(self, name: str, work: Callable[[], object]) -> None:
        """Do `work` in a thread of its own, again after every exception, until it returns."""
        threading.Thread(target=self._run, args=(name, work), name=name, daemon=True).start()

    def snapshot(self) -> list[dict[str, Any]]:
        """What has failed since the process began: ``name``, ``failures``, ``lastError``, and whether it is at work."""
        with self._lock:
            return [{"name": name, **trouble} for name, trouble in sorted(self._troubles.items())]

    def _run(self, name: str, work: Callable[[], object]) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                work()
            except Exception as error:  # whatever it is: the work must go on
                words = str(error) or type(error).__name__
                print(f"{name}: {type(error).__name__}: {error}; again in {pause:g} s", file=sys.stderr, flush=True)
            else:
                return
            if time.monotonic() - began > CALM:
                pause = FIRST_PAUSE
            self._tell(name, working=False, words=words)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            self._tell(name, working=True)

    def _tell(self, name: str, *, working: bool, words: str = "") -> None:
        with self._lock:
            trouble = self._troubles.setdefault(name, {"failures": 0, "lastError": "", "working": True})
            trouble["working"] = working
            if words:
                trouble["failures"] += 1
                trouble["lastError"] = words
        self._changed()


def begin(name: str, work: Callable[[], object]) -> None:
    """The same for a program without a status: what fails is on its stderr."""
    Threads().begin(name, work)
