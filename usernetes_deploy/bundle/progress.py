"""How far a build is, as one line: parts done, the share of all Go packages compiled, and about how long is left.

>>> progress = Progress({"kubernetes": 2814, "coredns": 895}, clock=iter([0.0, 60.0]).__next__)
>>> progress.begin("kubernetes")
>>> progress.compiled("kubernetes", 1400)
>>> progress.text()
'[ 0/2] 38 %, about 2 min left: kubernetes'
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

NOT_LINKED = 0.9  # of a part whose packages are all compiled: linking is left
SMALL = 50  # packages that a part without any counts as


class Progress:
    """Counts what is compiled; `packages` says how many Go packages each part that is to be made has, by name."""

    def __init__(self, packages: Mapping[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        self._packages = {name: count or SMALL for name, count in packages.items()}
        self._compiled = dict.fromkeys(packages, 0)
        self._running: list[str] = []
        self._done: set[str] = set()
        self._skipped = 0.0  # the share that was there already: it took no time
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()

    def begin(self, name: str) -> None:
        """A part is being made."""
        with self._lock:
            self._running.append(name)

    def compiled(self, name: str, packages: int) -> None:
        """So many packages of a part are compiled."""
        with self._lock:
            self._compiled[name] = packages

    def finish(self, name: str, *, made: bool) -> None:
        """A part is done; `made` False: it was there already."""
        with self._lock:
            self._done.add(name)
            if name in self._running:
                self._running.remove(name)
            if not made:
                self._skipped += self._packages[name] / sum(self._packages.values())

    def text(self) -> str:
        """The line; "" while nothing is being made."""
        with self._lock:
            if not self._running:
                return ""
            share = sum(map(self._finished, self._packages)) / sum(self._packages.values())
            elapsed, worked = self._clock() - self._began, share - self._skipped
            # Packages that parts have in common are compiled once, so this errs on the long side.
            left = f", {_about(elapsed * (1 - share) / worked)} left" if worked > 0.01 else ""
            names = ", ".join(self._running)
            width = len(str(len(self._packages)))
            return f"[{len(self._done):{width + 1}}/{len(self._packages)}] {share * 100:.0f} %{left}: {names}"

    def _finished(self, name: str) -> float:
        count = self._packages[name]
        return float(count) if name in self._done else min(self._compiled[name], NOT_LINKED * count)


def _about(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"
