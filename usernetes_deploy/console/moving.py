"""One line at the bottom that changes while work goes on; where nobody watches, a line now and then instead."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

SELDOM = 15.0  # seconds between lines where the stream is no terminal


class MovingLine:
    """Lines that stay (`say`), and one below them that is written over (`show`)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown = ""
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def show(self, text: str) -> None:
        """The line that changes; where the stream is no terminal it is printed every 15 seconds."""
        if self._terminal:
            width = shutil.get_terminal_size().columns
            self.clear()
            self._shown = text[: width - 1]
            print(self._shown, end="", file=self._stream, flush=True)
        elif time.monotonic() - self._last > SELDOM:
            self._last = time.monotonic()
            print(f"        {text}", file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the line that changes away."""
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", file=self._stream, flush=True)
            self._shown = ""
