"""What is taken from LAMMPS' logs; energies tell wrong physics from right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netbench.cases import CASES
from netbench.cases.base import NotSane, Setup
from netbench.cases.lammps import check_energy
from netbench.cases.software import MissingSoftware, Software
from netbench.records.record import Record
from tests.unit.netbench.cases.test_osu import OUTPUTS
from tests.unit.netbench.paper import LAMMPS

HNS = (OUTPUTS / "lammps_hns.txt").read_text(encoding="utf-8")
LJ = (OUTPUTS / "lammps_lj.txt").read_text(encoding="utf-8")
NOWHERE = Software(Path("/nonexistent"))


def hns(steps: int = 10, ranks: int = 2, cells: str = "2") -> Setup:
    return Setup(NOWHERE, 2, ranks, {"x": cells, "y": cells, "z": cells, "steps": str(steps)})


def test_times_performance_sections_and_energy_are_read_with_their_units() -> None:
    parsed = CASES["lammps_hns"].parse(HNS, hns())
    found = {s.metric: s for s in parsed.samples}
    assert found["loop_time"].unit == "s"
    assert found["loop_time"].better == "lower"
    assert {"wall_time", "cpu_use", "ns_per_day", "section_pair", "section_comm", "potential_energy"} <= found.keys()
    assert {m for m, s in found.items() if s.better != "none"} == {"loop_time"}
    assert found["potential_energy"].value == pytest.approx(-113.27631)


def test_lennard_jones_counts_tau_instead_of_nanoseconds() -> None:
    setup = Setup(NOWHERE, 2, 2, {"x": "20", "y": "20", "z": "20", "steps": "100"})
    found = {s.metric: s for s in CASES["lammps_lj"].parse(LJ, setup).samples}
    assert found["tau_per_day"].value > 0
    assert found["potential_energy"].unit == "epsilon"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("-113.27833", "-113.20000", "known is -113.27833"),
        ("-113.27631", "nan", "not understood|not a number"),
        ("on 2 procs", "on 1 procs", "ran on 1 ranks, not on 2"),
        ("2432 atoms", "304 atoms", "atoms"),
        ("Loop time", "ERROR on proc 0: Bond atom missing\nLoop time", "LAMMPS says ERROR on proc 0"),
    ],
)
def test_wrong_physics_and_wrong_set_ups_are_refused(old: str, new: str, reason: str) -> None:
    assert old in HNS
    with pytest.raises(NotSane, match=reason):
        CASES["lammps_hns"].parse(HNS.replace(old, new), hns())


def test_a_log_that_ends_in_the_middle_is_refused() -> None:
    with pytest.raises(NotSane):
        CASES["lammps_hns"].parse(HNS[: HNS.index("MPI task timing")], hns())


def test_another_number_of_steps_than_asked_for_is_refused() -> None:
    with pytest.raises(NotSane, match="the last row is of step 10, not 100"):
        CASES["lammps_hns"].parse(HNS, hns(steps=100))


def test_the_published_logs_pass_the_same_checks() -> None:
    text = (LAMMPS / "bare-metal" / "lammps-4-64-1.out").read_text(encoding="utf-8")
    setup = Setup(NOWHERE, 4, 64, {"x": "16", "y": "16", "z": "8", "steps": "100"})
    found = {s.metric: s.value for s in CASES["lammps_hns"].parse(text, setup).samples}
    assert found["loop_time"] == 80.2568


def test_the_energy_is_compared_with_bare_metal(tmp_path: Path) -> None:
    samples = CASES["lammps_hns"].parse(HNS, hns()).samples
    reference = Record.from_json(
        '{"schema": "usernetes.dev/netbench-record/v1", "id": "b", "campaign": "c", "place": "bare-metal",'
        ' "case": {"name": "lammps_hns", "family": "lammps"}, "node_count": 2, "ranks": 2, "repeat": 1,'
        ' "sanity": {"ok": true}, "samples": [{"metric": "potential_energy", "unit": "kcal/mol", "value": -113.27631,'
        ' "better": "none"}]}'
    )
    check_energy(samples, reference)
    check_energy(samples, None)
    wrong = replace(reference, samples=(replace(reference.samples[0], value=-113.2),))
    with pytest.raises(NotSane, match=r"that of bare metal \(b\) -113\.2"):
        check_energy(samples, wrong)


def test_the_example_is_adapted_to_the_styles_of_today(tmp_path: Path) -> None:
    example = tmp_path / "HNS"
    example.mkdir()
    (example / "in.reaxc.hns").write_text(
        "pair_style reax/c NULL\nfix 2 all qeq/reax 1 0.0 10.0 1e-6 reax/c\nrun 100\n"
    )
    for name in ("data.hns-equil", "ffield.reax.hns"):
        (example / name).write_text(name)
    program = tmp_path / "bin" / "lmp"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    software = Software(tmp_path / "scratch", (tmp_path,), (), example)
    command = CASES["lammps_hns"].command(Setup(software, 2, 2, CASES["lammps_hns"].defaults))
    text = Path(command.inputs["in.hns"]).read_text(encoding="utf-8")
    assert "pair_style reaxff NULL" in text
    assert text.rstrip().endswith("run ${t}")
    assert command.argv[0] == str(program)
    assert any("renamed" in note for note in command.notes)


def test_an_example_that_is_not_there_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingSoftware, match="lammps-examples"):
        Software(tmp_path, hns=tmp_path).hns_input()
