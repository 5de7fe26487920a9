"""A run that fails before it says what it is has the name and label of those that say it: reports group them by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbench.cases import CASES
from netbench.cases.base import Setup
from netbench.cases.software import Software
from tests.unit.netbench.cases.test_osu import OSU, OUTPUTS
from tests.unit.netbench.fakes import program

SIZES = {"sizes": "8:65536"}
OUTPUT = {
    **{name: (f"osu-7/{name}.txt", {} if name == "osu_barrier" else SIZES) for name in OSU},
    "lammps_hns": ("lammps_hns.txt", {"steps": "10"}),
    "lammps_lj": ("lammps_lj.txt", {"steps": "100"}),
    "tcp_stream": ("tcp_stream.json", {"seconds": "2"}),
    "tcp_rr": ("tcp_rr.txt", {}),
    "noise": ("noise.txt", {}),
    "pod_start": (None, {}),
}
BUILTIN = "# netbench builtin {kind} 1\n# {columns}\n"


def test_every_case_is_looked_at() -> None:
    assert OUTPUT.keys() == CASES.keys()


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_known_before_is_what_the_output_says(name: str, tmp_path: Path) -> None:
    file, parameters = OUTPUT[name]
    if name in OSU:
        program(tmp_path / "bin" / name, "#!/bin/sh\n")
    setup = Setup(Software(tmp_path / "scratch", (tmp_path,)), 2, 2, {**CASES[name].defaults, **parameters})
    text = (OUTPUTS / file).read_text(encoding="utf-8") if file else "started a 1.250\nstarted b 0.750\n"
    parsed = CASES[name].parse(text, setup)
    assert CASES[name].identity(setup) == (parsed.name or name, parsed.tool, parsed.label)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("osu_latency", BUILTIN.format(kind="latency", columns="size latency_us") + "8 4.250\n"),
        ("osu_bw", BUILTIN.format(kind="bw", columns="size bandwidth_MBps") + "8 4.250\n"),
        ("osu_barrier", BUILTIN.format(kind="barrier", columns="latency_us") + "4.250\n"),
    ],
)
def test_the_same_holds_for_our_own_programs(name: str, text: str, tmp_path: Path) -> None:
    given = {**CASES[name].defaults, **({} if name == "osu_barrier" else {"sizes": "8:8"})}
    setup = Setup(Software(tmp_path), 2, 2, given)
    parsed = CASES[name].parse(text, setup)
    assert CASES[name].identity(setup) == (parsed.name, parsed.tool, parsed.label)
