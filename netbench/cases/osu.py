"""What all OSU cases share: the suite where it is installed, our own programs of the same method where it is not.

The label of a result is read from what the program printed, never from what was asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from netbench.cases.base import Command, NoPair, NotSane, Parsed, Setup
from netbench.cases.software import builtin_program, options_of
from netbench.records.formats import LineError, Table, known_format, parse
from usernetes_deploy.errors import UsageError

WIRE_OVERHEAD = 40
LARGE = 8192
SIZES = {"sizes": "8:1048576", "iterations": "1000", "warmup": "100"}


@dataclass(frozen=True)
class OsuCase(NoPair):
    """An OSU micro-benchmark: `name` is its program's name, `own` the kind of our program that replaces it."""

    name: str
    own: str
    source: Literal["pt2pt", "collective"]
    defaults: Mapping[str, str] = field(default_factory=lambda: dict(SIZES))
    guess: float = 4
    messages: int = 1
    family: str = "osu"
    kind: Literal["mpi", "pair", "pod"] = "mpi"

    def identity(self, setup: Setup) -> tuple[str, str, str]:
        """The suite's where it is installed, ours where it is not."""
        if setup.software.osu(self.name):
            return self.name, "osu-micro-benchmarks", "OSU"
        return f"builtin_{self.own}", "netbench", "builtin"

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """Point-to-point programs take two ranks (osu_mbw_mr: an even number)."""
        if ranks < 2 or ranks < node_count:
            return f"{self.name} needs at least 2 ranks and one a node"
        if self.source == "pt2pt" and self.own != "mbw_mr" and ranks != 2:
            return f"{self.name} takes exactly 2 ranks"
        if self.own == "mbw_mr" and ranks % 2:
            return f"{self.name} takes an even number of ranks"
        return None

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """Grows with the iterations and the number of sizes asked for (18 by default)."""
        least, most = size_range(parameters.get("sizes", "1:131072"))
        sizes = math.log2(max(most, 1) / max(least, 1)) + 1
        return 0.5 + self.guess * int(parameters["iterations"]) / 1000 * sizes / 18

    def command(self, setup: Setup) -> Command:
        """The suite's program with those of our options that this release knows, or our own program."""
        given = {
            "m": setup.parameters.get("sizes"),
            "i": setup.parameters["iterations"],
            "x": setup.parameters["warmup"],
        }
        size_range(setup.parameters.get("sizes", "1:1"))
        library_path = setup.software.library_path()
        program = setup.software.osu(self.name)
        head: tuple[str, ...] = ()
        if program:
            known = options_of(program, library_path)
        else:
            program, head, known = builtin_program(setup.software, self.source), (self.own,), frozenset("mix")
        options = [part for key, value in given.items() if value and key in known for part in (f"-{key}", value)]
        unknown = sorted(f"-{key} {value}" for key, value in given.items() if value and key not in known)
        notes = (f"this release of {self.name} has no {', '.join(unknown)}",) if unknown else ()
        return Command(
            (str(program), *head, *options),
            {"LD_LIBRARY_PATH": library_path} if library_path else {},
            {program.name.rsplit("-", 1)[0] if head else self.name: str(program)},
            notes=notes,
        )

    def parse(self, text: str, setup: Setup) -> Parsed:
        """The one table of this benchmark in `text`, with no size missing."""
        is_own = text.lstrip().startswith("# netbench builtin ")
        try:
            tables = parse(_once(text), known_format("builtin" if is_own else "osu"))
        except LineError as error:
            raise NotSane(f"output {error}") from error
        if len(tables) != 1:
            raise NotSane(f"{len(tables)} tables in one output")
        table = tables[0]
        expected = f"builtin_{self.own}" if is_own else self.name
        if table.run.case != expected:
            raise NotSane(f"asked for {expected}, but {table.run.case} answered")
        least, most = size_range(setup.parameters.get("sizes", "0:0"))
        kept = tuple(s for s in table.samples.values() if s.size is None or least <= s.size <= most)
        self._check(table, least, most)
        left_out = len(table.samples) - len(kept)
        notes = (f"{left_out} figures of sizes outside {least}:{most} are in the raw output only",) if left_out else ()
        return Parsed(
            kept,
            "netbench" if is_own else "osu-micro-benchmarks",
            "builtin" if is_own else "OSU",
            table.tool_version,
            table.run.case,
            (*table.notes, *notes),
        )

    def least_bytes(self, setup: Setup) -> int:
        """Every timed round moves at least one message of each size between nodes (in large sizes a tenth of them)."""
        if setup.node_count < 2:
            return 0
        least, most = size_range(setup.parameters.get("sizes", "1:1"))
        # osu_mbw_mr of old releases has no -i; it runs 100 rounds, 20 of large messages
        rounds = int(setup.parameters["iterations"])
        rounds = min(rounds, 100) if self.own == "mbw_mr" else rounds
        sizes = [least << i for i in range(int(math.log2(most / max(least, 1))) + 1)] if least else [1]
        # headers count where every message waits for the one before
        overhead = WIRE_OVERHEAD if self.messages == 1 else 0
        counted = ((rounds // 10 if size > LARGE else rounds) * (size + overhead) for size in sizes)
        return self.messages * sum(counted)

    def _check(self, table: Table, least: int, most: int) -> None:
        for (metric, size), sample in table.samples.items():
            where = f" of size {size}" if size is not None else ""
            if not math.isfinite(sample.value) or sample.value <= 0:
                raise NotSane(f"{metric}{where} is {sample.value}")
        sizes = {size for _, size in table.samples if size}
        smallest = max(least, 4 if self.own == "allreduce" else 1)
        expected = {1 << i for i in range(most.bit_length()) if smallest <= 1 << i <= most}
        if sizes and (missing := sorted(expected - sizes)):
            raise NotSane(f"the table ends early: size {missing[0]} is missing")


def _once(text: str) -> str:
    """`text` without a title's echo: osu_mbw_mr 7.1 prints its name twice."""
    lines = text.split("\n")
    return "\n".join(b for a, b in zip(["", *lines], lines, strict=False) if a != b or not b.startswith("# OSU MPI "))


def size_range(text: str) -> tuple[int, int]:
    """``MIN:MAX`` in bytes.

    >>> size_range("8:1048576")
    (8, 1048576)
    """
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or int(found[1]) > int(found[2]):
        raise UsageError(f"sizes: expected MIN:MAX in bytes, got {text!r}")
    return int(found[1]), int(found[2])
