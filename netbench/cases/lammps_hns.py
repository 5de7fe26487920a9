"""LAMMPS with ReaxFF on crystalline HNS, an explosive: the application of the published comparison.

Needs the input of LAMMPS' own example (input, ``data.hns-equil``, ``ffield.reax.hns``); 304 atoms a cell.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from netbench.cases.base import Setup
from netbench.cases.lammps import LammpsCase
from netbench.cases.software import MissingSoftware

FILES = ("data.hns-equil", "ffield.reax.hns")


class LammpsHns(LammpsCase):
    """The example's files are copied to the scratch folder; pods need not see where they were installed."""

    def inputs(self, setup: Setup) -> tuple[Path, Mapping[str, str], tuple[str, ...]]:
        """The example with today's names of its styles, and with its number of steps made a variable."""
        source = setup.software.hns_input()
        folder = setup.software.scratch / "inputs" / "hns"
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not (source.parent / name).is_file():
                raise MissingSoftware(f"{source.parent} has no {name}", remedy="install lammps-examples in full")
            shutil.copyfile(source.parent / name, folder / name)
        text = source.read_text(encoding="utf-8")
        modern = re.sub(r"\breax/c\b", "reaxff", text)
        adapted = re.sub(r"(?m)^run\s+\d+\s*$", "run ${t}", modern)
        if "${t}" not in adapted:
            raise MissingSoftware(f"{source} has no 'run' line that could be given a number of steps")
        infile = folder / "in.hns"
        infile.write_text(adapted, encoding="utf-8")
        notes = (f"input made from {source.name}: reax/c renamed to reaxff",) if modern != text else ()
        return infile, {name: str(folder / name) for name in (infile.name, *FILES)}, notes


CASE = LammpsHns(
    "lammps_hns",
    {"x": "2", "y": "2", "z": "2", "steps": "100"},
    first_energy=-113.27833,
    atoms_a_cell=304,
    seconds_a_cell_step=0.014,
)
