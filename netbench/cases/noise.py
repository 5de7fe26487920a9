"""What the system takes from an application: the mean time of a fixed piece of work, against its fastest.

Run at ``bare-metal`` and ``bare-metal-beside`` it says what a cluster at rest costs; no message is sent.
"""

# ruff: noqa: ARG002 - the arguments are those of the interface, `netbench.cases.base.Case`

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from netbench.cases.base import Command, NoPair, NotSane, Parsed, Setup
from netbench.cases.software import builtin_program
from netbench.records.record import Sample

HEADER = "# netbench builtin noise "
COLUMNS = "# rank mean_us min_us p99_us max_us"


@dataclass(frozen=True)
class Noise(NoPair):
    """Ours: no kept tool reports a fixed quantum per rank as plain text. Figures are means over ranks."""

    name: str = "noise"
    family: str = "noise"
    kind: Literal["mpi", "pair", "pod"] = "mpi"

    @property
    def defaults(self) -> Mapping[str, str]:
        """Steps of one piece of work (about a millisecond), and how many pieces."""
        return {"work": "1000000", "quanta": "3000"}

    def identity(self, setup: Setup) -> tuple[str, str, str]:
        """Always the same."""
        return self.name, "netbench", "builtin"

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """Any number of ranks, but one a node at least."""
        return "noise needs at least one rank a node" if ranks < node_count else None

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """About a nanosecond a step."""
        return 1 + int(parameters["work"]) * int(parameters["quanta"]) * 1.1e-9

    def command(self, setup: Setup) -> Command:
        """``noise WORK QUANTA``."""
        program = builtin_program(setup.software, "noise")
        library_path = setup.software.library_path()
        return Command(
            (str(program), setup.parameters["work"], setup.parameters["quanta"]),
            {"LD_LIBRARY_PATH": library_path} if library_path else {},
            {"netbench-noise": str(program)},
        )

    def parse(self, text: str, setup: Setup) -> Parsed:
        """One row a rank."""
        lines = [line for line in text.splitlines() if line]
        if len(lines) < 2 or not lines[0].startswith(HEADER) or lines[1] != COLUMNS:
            raise NotSane(f"output not understood: {lines[0] if lines else '(empty)'!r}")
        rows: list[list[float]] = []
        for number, line in enumerate(lines[2:]):
            if not re.fullmatch(rf"{number}( \d+\.\d+){{4}}", line):
                raise NotSane(f"output not understood: {line!r}")
            rows.append([float(word) for word in line.split()[1:]])
        if len(rows) != setup.ranks:
            raise NotSane(f"{len(rows)} of {setup.ranks} ranks answered")
        mean, least, p99, most = (fmean(column) for column in zip(*rows, strict=True))
        samples = (
            Sample("quantum", "us", mean, "lower"),
            Sample("quantum_min", "us", least, "none"),
            Sample("quantum_p99", "us", p99, "none"),
            Sample("quantum_max", "us", most, "none"),
            Sample("lost_percent", "%", fmean(100 * (row[0] / row[1] - 1) for row in rows), "none"),
        )
        return Parsed(samples, "netbench", "builtin", lines[0].removeprefix(HEADER))

    def least_bytes(self, setup: Setup) -> int:
        """Sends nothing."""
        return 0


CASE = Noise()
