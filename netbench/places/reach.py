"""Runs a short script on all nodes of a place, side by side."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from netbench.places.base import PlaceError
from netbench.start.mpi import Seat

PROBE_LIMIT = 30.0
NO_INPUT = ("--noinput", "--input=none")  # of `flux exec`, and of `srun`


def on_seats(
    seats: Sequence[Seat], script: str | Mapping[str, str], limit: float = PROBE_LIMIT, stdin: bytes = b""
) -> dict[str, str]:
    """Run `script` (one for all, or one a node's name) on all seats side by side; standard output by node.

    Raises `PlaceError` that names the node.
    """

    def ask(seat: Seat) -> str:
        argv = seat.argv(script if isinstance(script, str) else script[seat.name])
        if stdin:
            argv = [word for word in argv if word not in NO_INPUT]
        try:
            done = subprocess.run(argv, capture_output=True, input=stdin, timeout=limit, check=False)
        except subprocess.TimeoutExpired as error:
            raise PlaceError(f"{seat.name} gave no answer within {limit:g} s") from error
        except OSError as error:
            raise PlaceError(f"{seat.name} cannot be reached: {error}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise PlaceError(f"{seat.name}: {said[-1] if said else f'exit code {done.returncode}'}")
        return done.stdout.decode(errors="replace")

    if not seats:
        return {}
    with ThreadPoolExecutor(max_workers=min(32, len(seats))) as pool:
        return dict(zip((seat.name for seat in seats), pool.map(ask, seats), strict=True))
