"""What a place is: nodes that run one and the same command line; made ready, asked when something broke, given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from netbench.launch import Seat


class PlaceError(Exception):
    """The place cannot be used, or broke under a run; the text says why, in one line."""


class Place(Protocol):
    """Where runs are made. `open` may be called again after `close`."""

    @property
    def name(self) -> str:
        """As in plans and records, e.g. ``pod-native``."""

    def open(self) -> None:
        """Make it ready; does nothing where it is. Raises `PlaceError`."""

    def seats(self) -> Sequence[Seat]:
        """All nodes in the plan's order, with the addresses that programs use here."""

    def trouble(self) -> str | None:
        """Asked after a run that failed: what happened to the place itself, or None. The place is closed by then."""

    def close(self) -> None:
        """Give back what `open` made."""
