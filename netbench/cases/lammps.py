"""What the LAMMPS cases share: the program, reading its log, and energies that prove the physics was the same.

The first row of the thermodynamic table is known beforehand (it depends on the input alone); the last row is compared
with bare metal's by `check_energy`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from netbench.cases.base import Command, NoPair, NotSane, Parsed, Setup
from netbench.records.formats import LineError, known_format, parse
from netbench.records.record import Record, Sample
from usernetes_deploy.errors import UsageError

ENERGY = "potential_energy"
FIRST_TOLERANCE = 1e-5
# rounding differs with the order in which messages arrive; a wrong result differs far more
LAST_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LammpsCase(NoPair):
    """One LAMMPS input. `first_energy` is the potential energy per atom before the first step."""

    name: str
    defaults: Mapping[str, str]
    first_energy: float
    atoms_a_cell: int
    seconds_a_cell_step: float
    family: str = "lammps"
    kind: Literal["mpi", "pair", "pod"] = "mpi"
    energy_unit: str = "kcal/mol"

    def identity(self, setup: Setup) -> tuple[str, str, str]:  # noqa: ARG002 - the interface's
        """LAMMPS says what it is."""
        return self.name, "lammps", "LAMMPS"

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """Any number of ranks, but one a node at least."""
        return f"{self.name} needs at least one rank a node" if ranks < node_count else None

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """Grows with cells and steps."""
        return 1 + _cells(parameters) * int(parameters["steps"]) * self.seconds_a_cell_step

    def inputs(self, setup: Setup) -> tuple[Path, Mapping[str, str], tuple[str, ...]]:
        """The input file, all files read (name to path), and notes. Raises `MissingSoftware`."""
        raise NotImplementedError

    def command(self, setup: Setup) -> Command:
        """``lmp -in FILE -v x X -v y Y -v z Z -v t STEPS``; the log is the standard output."""
        program = setup.software.lammps()
        infile, files, notes = self.inputs(setup)
        p = setup.parameters
        variables = [
            v for key, name in (("x", "x"), ("y", "y"), ("z", "z"), ("steps", "t")) for v in ("-v", name, p[key])
        ]
        library_path = setup.software.library_path()
        return Command(
            (str(program), "-in", infile.name, *variables, "-log", "none", "-nocite"),
            {"OMP_NUM_THREADS": "1"} | ({"LD_LIBRARY_PATH": library_path} if library_path else {}),
            {"lmp": str(program)},
            files,
            str(infile.parent),
            notes,
        )

    def parse(self, text: str, setup: Setup) -> Parsed:
        """Loop time, wall time, CPU use, ns/day, sections, and the energy; refused where the physics is wrong."""
        if bad := re.search(r"(?m)^ERROR.*$", text):
            raise NotSane(f"LAMMPS says {bad[0]}")
        try:
            tables = parse(text, known_format("lammps"))
        except LineError as error:
            raise NotSane(f"output {error}") from error
        if len(tables) != 1:
            raise NotSane(f"{len(tables)} runs in one output")
        samples = {sample.metric: sample for sample in tables[0].samples.values()}
        if ENERGY in samples:
            samples[ENERGY] = replace(samples[ENERGY], unit=self.energy_unit)
        atoms = _cells(setup.parameters) * self.atoms_a_cell
        if samples["atoms"].value != atoms:
            raise NotSane(f"{samples['atoms'].value:.0f} atoms, where {atoms} were asked for")
        self._check_run(text, setup)
        return Parsed(tuple(samples.values()), "lammps", "LAMMPS", tables[0].tool_version)

    def _check_run(self, text: str, setup: Setup) -> None:
        rows = _energies(text)
        last_step = int(setup.parameters["steps"])
        if not rows or rows[-1][0] != last_step:
            raise NotSane(f"the last row is of step {rows[-1][0] if rows else '?'}, not {last_step}")
        if any(not math.isfinite(energy) for _, energy in rows):
            raise NotSane("an energy is not a number")
        first = rows[0][1]
        if abs(first - self.first_energy) > FIRST_TOLERANCE * abs(self.first_energy):
            raise NotSane(f"the energy before the first step is {first}, known is {self.first_energy}")
        done = re.search(r"Loop time of \S+ on (\d+) procs", text)
        if not done or int(done[1]) != setup.ranks:
            raise NotSane(f"ran on {done[1] if done else '?'} ranks, not on {setup.ranks}")

    def least_bytes(self, setup: Setup) -> int:
        """Ghost atoms' positions: a tenth of one surface of the box a step, far below what is really sent."""
        if setup.node_count < 2:
            return 0
        surface = round(math.pow(_cells(setup.parameters) * self.atoms_a_cell, 2 / 3))
        return int(setup.parameters["steps"]) * surface * 24 // 10


def check_energy(samples: Sequence[Sample], reference: Record | None) -> None:
    """Compare the last energy with that of a bare-metal run of the same case. Raises `NotSane` where it differs."""
    if reference is None:
        return
    mine = {s.metric: s.value for s in samples}.get(ENERGY)
    theirs = {s.metric: s.value for s in reference.samples}.get(ENERGY)
    if mine is not None and theirs is not None and abs(mine - theirs) > LAST_TOLERANCE * abs(theirs):
        raise NotSane(f"the last energy is {mine}, that of bare metal ({reference.id}) {theirs}")


def _energies(text: str) -> list[tuple[int, float]]:
    """(step, potential energy) of each row of the thermodynamic table."""
    rows: list[tuple[int, float]] = []
    column = None
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["Step", "Temp"]:
            column = next((i for i, word in enumerate(words) if word in ("PotEng", "E_pair")), None)
        elif line.startswith("Loop time"):
            column = None
        elif column is not None and len(words) > column and words[0].isdigit():
            rows.append((int(words[0]), float(words[column])))
    return rows


def _cells(parameters: Mapping[str, str]) -> int:
    try:
        cells = math.prod(int(parameters[axis]) for axis in "xyz")
    except ValueError as error:
        raise UsageError(f"x, y, z: expected whole numbers, got {dict(parameters)}") from error
    if cells < 1:
        raise UsageError("x, y, z: expected at least 1")
    return cells
