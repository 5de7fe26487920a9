"""What a phase of a change is, and the runner that carries phases out in order and takes them back in reverse."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Protocol, TextIO, TypeVar

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class Phase(Protocol[C_contra]):
    """One step. `title` reads as a command; `apply` returns a few words about what was done."""

    title: str

    def check(self, context: C_contra) -> bool:
        """Whether there is something to do; a phase without anything to do is not shown."""

    def apply(self, context: C_contra) -> str:
        """Do it."""

    def undo(self, context: C_contra) -> None:
        """Take it back, wholly or half done; called in reverse order when a later phase fails."""


class Report:
    """Progress on stderr and in the log: a line a phase, with its time in seconds.

    `echo` False keeps the terminal quiet; the log has everything all the same.
    """

    def __init__(self, stream: TextIO = sys.stderr, *, echo: bool = True) -> None:
        self.stream = stream
        self.echo = echo
        self.log: TextIO | None = None
        self.seconds: dict[str, float] = {}

    def line(self, text: str) -> None:
        """Write one line."""
        for stream in (self.stream if self.echo else None, self.log):
            if stream is not None:
                # A closed terminal must not keep a node from being stopped.
                with contextlib.suppress(OSError, ValueError):
                    print(text, file=stream, flush=True)

    def done(self, number: int, total: int, title: str, detail: str, seconds: float) -> None:
        """A phase that went well."""
        self.seconds[title] = round(seconds, 3)
        self.line(f"[{number:2}/{total}] {title:<28} {detail:<30} {seconds:6.1f} s")

    def failed(self, number: int, total: int, title: str) -> None:
        """A phase that did not."""
        self.line(f"[{number:2}/{total}] {title:<28} FAILED")


def run(phases: Sequence[Phase[C]], context: C, report: Report) -> None:
    """Carry `phases` out in order.

    When one raises (Ctrl-C included), those begun are undone in reverse order and the error goes on; what cannot be
    undone is reported and does not keep the others from being undone.
    """
    begun: list[Phase[C]] = []
    for number, phase in enumerate(phases, 1):
        began = time.monotonic()
        try:
            if not phase.check(context):
                continue
            begun.append(phase)
            detail = phase.apply(context)
        except BaseException:
            report.failed(number, len(phases), phase.title)
            for earlier in reversed(begun):
                try:
                    earlier.undo(context)
                except BaseException as error:  # a second Ctrl-C included: it ends one undo, not all of them
                    report.line(f"  not undone: {earlier.title}: {error or type(error).__name__}")
            raise
        report.done(number, len(phases), phase.title, detail, time.monotonic() - began)
