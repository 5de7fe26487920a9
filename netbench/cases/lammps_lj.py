"""LAMMPS with a Lennard-Jones melt: needs no input files, and communicates little."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from netbench.cases.base import Setup
from netbench.cases.lammps import LammpsCase

INPUT = """\
# A Lennard-Jones melt: face-centred cubic start at density 0.8442 and temperature 1.44, cut-off 2.5, constant energy.
variable x index 10
variable y index 10
variable z index 10
variable t index 100
units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 $x 0 $y 0 $z
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287 loop geom
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor 0.3 bin
neigh_modify delay 0 every 20 check no
fix 1 all nve
thermo_style custom step temp pe press
thermo_modify norm yes
thermo 20
run $t
"""


class LammpsLennardJones(LammpsCase):
    """The input is written here, so that nothing has to be installed but LAMMPS."""

    def inputs(self, setup: Setup) -> tuple[Path, Mapping[str, str], tuple[str, ...]]:
        """The input above, in the scratch folder."""
        folder = setup.software.scratch / "inputs"
        folder.mkdir(parents=True, exist_ok=True)
        infile = folder / "in.lj"
        if not infile.is_file() or infile.read_text(encoding="ascii") != INPUT:
            infile.write_text(INPUT, encoding="ascii")
        return infile, {infile.name: str(infile)}, ()


CASE = LammpsLennardJones(
    "lammps_lj",
    {"x": "20", "y": "20", "z": "20", "steps": "200"},
    first_energy=-6.7733681,
    atoms_a_cell=4,
    seconds_a_cell_step=2e-6,
    energy_unit="epsilon",
)
