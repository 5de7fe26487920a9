"""What is taken from OSU's and our own outputs, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbench.cases import CASES
from netbench.cases.base import NotSane, Setup
from netbench.cases.osu import size_range
from netbench.cases.software import Software
from usernetes_deploy.errors import UsageError

OUTPUTS = Path(__file__).parents[3] / "data" / "netbench" / "outputs"
OSU = [name for name in CASES if name.startswith("osu_")]
NOWHERE = Software(Path("/nonexistent"))


def setup(name: str, sizes: str = "8:65536", **parameters: str) -> Setup:
    given = {**CASES[name].defaults, **parameters}
    if "sizes" in given:
        given["sizes"] = sizes
    return Setup(NOWHERE, 2, 2, given)


@pytest.mark.parametrize("release", ["5", "7"])
@pytest.mark.parametrize("name", OSU)
def test_outputs_of_both_releases_are_read(name: str, release: str) -> None:
    text = (OUTPUTS / f"osu-{release}" / f"{name}.txt").read_text(encoding="utf-8")
    parsed = CASES[name].parse(text, setup(name))
    assert parsed.label == "OSU"
    assert parsed.name == name
    assert parsed.tool_version is not None
    assert parsed.tool_version.startswith(release)
    sizes = [s.size for s in parsed.samples if s.better != "none"]
    assert sizes == ([None] if name == "osu_barrier" else [8 << i for i in range(14)])
    assert {s.unit for s in parsed.samples} <= {"us", "MB/s", "1/s"}
    assert {s.better for s in parsed.samples} == ({"higher"} if "bw" in name and "mr" not in name else
                                                  {"higher", "none"} if "mr" in name else {"lower"})  # fmt: skip


@pytest.mark.parametrize("name", OSU)
def test_the_output_of_another_benchmark_is_refused(name: str) -> None:
    other = OSU[(OSU.index(name) + 1) % len(OSU)]
    text = (OUTPUTS / "osu-7" / f"{other}.txt").read_text(encoding="utf-8")
    with pytest.raises(NotSane, match=f"asked for {name}, but {other} answered"):
        CASES[name].parse(text, setup(name))


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "0.00", "-1.50", "", "1,5"])
def test_a_figure_that_is_none_is_refused(value: str) -> None:
    text = (OUTPUTS / "osu-7" / "osu_latency.txt").read_text(encoding="utf-8")
    broken = re.sub(r"(?m)^16( +)\S+$", rf"16\g<1>{value}", text)
    assert broken != text
    with pytest.raises(NotSane):
        CASES["osu_latency"].parse(broken, setup("osu_latency"))


def test_a_table_that_ends_early_is_refused() -> None:
    lines = (OUTPUTS / "osu-7" / "osu_latency.txt").read_text(encoding="utf-8").splitlines()
    with pytest.raises(NotSane, match="ends early: size 16384 is missing"):
        CASES["osu_latency"].parse("\n".join(lines[:15]) + "\n", setup("osu_latency"))


def test_two_tables_in_one_output_are_refused() -> None:
    text = (OUTPUTS / "osu-7" / "osu_bcast.txt").read_text(encoding="utf-8")
    with pytest.raises(NotSane, match="2 tables"):
        CASES["osu_bcast"].parse(text + text, setup("osu_bcast"))


def test_sizes_that_were_not_asked_for_are_said_to_be_left_out() -> None:
    text = (OUTPUTS / "osu-5" / "osu_latency.txt").read_text(encoding="utf-8")
    parsed = CASES["osu_latency"].parse(text, setup("osu_latency", sizes="8:64"))
    assert [s.size for s in parsed.samples] == [8, 16, 32, 64]
    assert any("outside 8:64" in note for note in parsed.notes)


def test_our_own_output_is_labelled_builtin_and_never_osu() -> None:
    text = "# netbench builtin latency 1\n# size latency_us\n8 4.250\n16 4.500\n"
    parsed = CASES["osu_latency"].parse(text, setup("osu_latency", sizes="8:16"))
    assert (parsed.label, parsed.tool, parsed.name) == ("builtin", "netbench", "builtin_latency")
    assert [(s.size, s.value) for s in parsed.samples] == [(8, 4.25), (16, 4.5)]


def test_where_there_is_no_osu_a_failed_run_has_our_name_too() -> None:
    assert CASES["osu_bw"].identity(setup("osu_bw")) == ("builtin_bw", "netbench", "builtin")


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=60))
def test_a_line_that_is_not_known_is_never_skipped(line: str) -> None:
    head, *rows = (OUTPUTS / "osu-7" / "osu_barrier.txt").read_text(encoding="utf-8").strip().splitlines()
    text = "\n".join([head, *rows, line]) + "\n"
    known = not line.strip(" \n") or re.fullmatch(r"# Avg Latency ?\(us\)", line)
    if known:
        return
    with pytest.raises(NotSane):
        CASES["osu_barrier"].parse(text, setup("osu_barrier"))


@given(st.lists(st.floats(0.01, 1e6), min_size=11, max_size=11))
def test_what_was_printed_is_what_is_recorded(values: list[float]) -> None:
    rows = "".join(f"{8 << i:<10d}{value:>18.2f}\n" for i, value in enumerate(values))
    text = f"# OSU MPI Latency Test v7.4\n# Datatype: MPI_CHAR.\n# Size       Avg Latency(us)\n{rows}"
    parsed = CASES["osu_latency"].parse(text, setup("osu_latency", sizes="8:8192"))
    assert [s.value for s in parsed.samples] == [float(f"{value:.2f}") for value in values]


@pytest.mark.parametrize("text", ["8", "8:", ":8", "64:8", "a:b", "8:64:128", "-1:8"])
def test_sizes_are_min_and_max(text: str) -> None:
    with pytest.raises(UsageError, match="expected MIN:MAX"):
        size_range(text)


@pytest.mark.parametrize(
    ("name", "nodes", "ranks", "why"),
    [
        ("osu_latency", 2, 2, None),
        ("osu_latency", 4, 4, "exactly 2 ranks"),
        ("osu_mbw_mr", 2, 4, None),
        ("osu_mbw_mr", 3, 3, "even number"),
        ("osu_barrier", 4, 8, None),
        ("osu_barrier", 1, 1, "at least 2 ranks"),
    ],
)
def test_ranks_that_make_no_sense_are_refused(name: str, nodes: int, ranks: int, why: str | None) -> None:
    reason = CASES[name].refuses(nodes, ranks)
    assert (reason is None) if why is None else (reason is not None and why in reason)
