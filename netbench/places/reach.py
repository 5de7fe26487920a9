"""Runs a short script on all nodes of a place, side by side."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from netbench.launch import Seat
from netbench.places.base import PlaceError

PROBE_LIMIT = 30.0


def on_seats(seats: Sequence[Seat], script: str, limit: float = PROBE_LIMIT) -> dict[str, str]:
    """Run `script` on all seats side by side; standard output by node. Raises `PlaceError` that names the node."""

    def ask(seat: Seat) -> str:
        try:
            done = subprocess.run(
                seat.argv(script), capture_output=True, stdin=subprocess.DEVNULL, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PlaceError(f"{seat.name} gave no answer within {limit:g} s") from error
        except OSError as error:
            raise PlaceError(f"{seat.name} cannot be reached: {error}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise PlaceError(f"{seat.name}: {said[-1] if said else f'exit code {done.returncode}'}")
        return done.stdout.decode(errors="replace")

    with ThreadPoolExecutor(max_workers=min(32, len(seats))) as pool:
        return dict(zip((seat.name for seat in seats), pool.map(ask, seats), strict=True))
