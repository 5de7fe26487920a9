"""What a place is: nodes that run one and the same command line; made ready, asked when something broke, given back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from netbench.start.mpi import Seat
from netbench.start.process import Ended


class PlaceError(Exception):
    """The place cannot be used, or broke under a run; the text says why, in one line."""


class Front(Protocol):
    """A part of the place in which the MPI launcher runs, where it does not run beside netbench."""

    @property
    def agent(self) -> Path:
        """Where the launcher finds its agent."""

    def by_ssh(self, seats: Sequence[Seat]) -> Sequence[Seat]:
        """`seats` as the launcher reaches them."""

    def launcher_address(self) -> str:
        """Where the launcher is reached by the nodes."""

    def launch(self, argv: Sequence[str], limit: float, folder: Path) -> Ended:
        """Run `argv` there for at most `limit` seconds, with the ``agent.sh`` of `folder` as `agent`; its outputs go
        to `folder`. Raises `PlaceError` where the launcher was lost."""


class Place(Protocol):
    """Where runs are made. `open` may be called again after `close`."""

    @property
    def name(self) -> str:
        """As in plans and records, e.g. ``pod-native``."""

    @property
    def front(self) -> Front | None:
        """Where the launcher of MPI ranks runs; None: beside netbench."""

    def open(self) -> None:
        """Make it ready; does nothing where it is. Raises `PlaceError`."""

    def seats(self) -> Sequence[Seat]:
        """All nodes in the plan's order, with the addresses that programs use here."""

    def done(self) -> None:
        """A run gave its figure."""

    def trouble(self) -> str | None:
        """Asked after a run that failed: what happened to the place itself, or None. The place is closed by then."""

    def close(self) -> None:
        """Give back what `open` made."""
