"""Import of foreign outputs: the published campaign to the last digit, and everything odd named with file and line."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbench.records.formats import LineError, known_format, parse
from netbench.records.importer import Imported, import_dir
from netbench.records.record import Record, load_dir
from tests.unit.netbench.paper import EXCERPTS, LAMMPS, OSU, whole
from usernetes_deploy.errors import SpecError, UsageError

CASES = {
    "allreduce": "osu_allreduce",
    "barrier": "osu_barrier",
    "latency": "osu_latency",
    "bw": "osu_bw",
    "lammps": "lammps_hns",
}
METRICS = {
    "us": "latency",
    "MBps": "bandwidth",
    "peak_MBps": "peak_bandwidth",
    "loop": "loop_time",
    "wall": "wall_time",
    "cpu": "cpu_use",
}


def value(record: Record, metric: str, size: int | None = None) -> float:
    return next(s.value for s in record.samples if (s.metric, s.size) == (metric, size))


def imported(tmp_path: Path, name: str, text: str) -> Imported:
    source = tmp_path / "in" / "results-osu" / "bare-metal" / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    return import_dir(tmp_path / "in", tmp_path / "out")


def test_all_400_files_give_the_expected_medians_and_means_to_the_last_digit(tmp_path: Path) -> None:
    folder = whole()
    found = import_dir(folder, tmp_path)
    assert (found.files, list(found.unread)) == (404, [])
    cells: dict[tuple[str, str, int, int | None, str], list[float]] = defaultdict(list)
    for record in sorted(found.records, key=lambda r: r.repeat):
        if record.campaign == "flux-usernetes 2024-06":
            for s in record.samples:
                cells[record.case.name, s.metric, record.node_count, s.size, record.place].append(s.value)
    expected = json.loads((folder / "expected.json").read_text())
    assert len(expected) == 530
    for cell in expected:
        metric = METRICS.get(cell["metric"], f"section_{cell['metric'].lower()}")
        values = cells[CASES[cell["bench"]], metric, cell["nodes"], cell["size"], cell["env"]]
        seen = (len(values), float(np.median(values)), float(np.mean(values)), min(values), max(values))
        assert seen == (cell["n"], cell["median"], cell["mean"], cell["min"], cell["max"]), cell


def test_the_excerpts_become_records_with_their_conditions(tmp_path: Path) -> None:
    found = import_dir(EXCERPTS, tmp_path)
    assert (found.files, list(found.unread)) == (8, [])
    assert load_dir(tmp_path) == (sorted(found.records, key=lambda r: (r.campaign, r.case.name, r.place, r.repeat)), [])
    by_case = {(r.case.name, r.place): r for r in found.records if "2024-06" in r.campaign}
    latency = by_case["osu_latency", "bare-metal"]
    assert (latency.node_count, latency.ranks, latency.case.tool_version) == (2, 2, "5.8")
    assert value(latency, "latency", 0) == 7.46
    lammps = by_case["lammps_hns", "usernetes"]
    assert lammps.binaries == {"lammps": "version:7 Feb 2024 - Development - 8819275"}
    assert (value(lammps, "loop_time"), value(lammps, "wall_time"), value(lammps, "cpu_use")) == (99.9157, 101.0, 99.3)
    assert (value(lammps, "section_comm"), value(lammps, "section_comm_max")) == (6.0342, 10.745)
    assert value(lammps, "potential_energy") == -113.28495
    assert value(by_case["osu_bw", "usernetes"], "peak_bandwidth") > 20000
    assert (tmp_path / latency.raw[0]).resolve() == (OSU / "bare-metal" / "osu_latency-1.out").resolve()


def test_kubectls_first_line_is_kept_as_a_note(tmp_path: Path) -> None:
    found = import_dir(OSU, tmp_path)
    notes = {r.case.name: r.notes for r in found.records if r.place == "usernetes"}
    assert "kubectl chose container flux-osu-efa" in notes["osu_allreduce"]


def test_ranks_come_from_the_rule_where_the_name_has_none(tmp_path: Path) -> None:
    found = import_dir(OSU, tmp_path)
    assert next(r.ranks for r in found.records if r.case.name == "osu_allreduce") == 64


def test_two_tables_in_one_file_are_two_runs_with_the_limit_of_their_campaign(tmp_path: Path) -> None:
    found = import_dir(EXCERPTS / "history-348ba03", tmp_path)
    pods = [r for r in found.records if r.place == "usernetes"]
    assert [(r.repeat, value(r, "latency", 4)) for r in pods] == [(1, 56.74), (2, 49.08)]
    assert "table 2 of 2 in the file" in pods[1].notes
    assert [limit.cpu_cores for r in pods for limit in r.limits or ()] == [10, 10]
    assert len({r.id for r in found.records}) == 3


BARRIER = "\n# OSU MPI Barrier Latency Test v5.8\n# Avg Latency(us)\n            40.58\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (BARRIER.replace("40.58", "nan"), 4, "not understood: '            nan'"),
        (BARRIER + "srun: error: node3: task 7: Killed\n", 5, "not understood: 'srun: error"),
        ("Segmentation fault\n" + BARRIER, 1, "not understood: 'Segmentation fault'"),
        (BARRIER + "41.00\n", 5, "a second latency"),
        (BARRIER.rstrip("\n"), 4, "breaks off"),
        ("\n# OSU MPI Barrier Latency Test v5.8\n# Avg Latency(us)\n", 3, "ends without "),
        ("# OSU MPI Latency Test v5.8\n8 4.25\n", 2, "not understood: '8 4.25'"),
        ("# OSU MPI Latency Test v5.8\n# Size  Latency (us)\n8  4.25\n8  4.26\n", 4, "a second latency of size 8"),
        ("", 1, "no output of osu-micro-benchmarks"),
        ("\n\n", 2, "no output of osu-micro-benchmarks"),
        (BARRIER.replace("Barrier", "Allreduce"), 3, "not understood: '# Avg"),
    ],
)
def test_what_is_not_understood_is_named_with_file_and_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    found = imported(tmp_path, "osu_barrier-4-64-1.out", text)
    [unread] = found.unread
    assert unread.line == line
    assert reason in unread.reason
    assert str(unread).startswith(f"results-osu/bare-metal/osu_barrier-4-64-1.out:{line}: ")
    [record] = found.records
    assert not record.sanity.ok
    assert record.sanity.reason == str(unread)
    assert not record.samples


def test_the_other_files_are_read_though_one_is_broken(tmp_path: Path) -> None:
    imported(tmp_path, "osu_barrier-4-64-1.out", "crash\n")
    found = imported(tmp_path, "osu_barrier-4-64-2.out", BARRIER)
    assert [r.sanity.ok for r in found.records] == [False, True]


def test_a_table_that_ends_early_is_a_run_without_figures(tmp_path: Path) -> None:
    whole_text = (OSU / "bare-metal" / "osu_latency-1.out").read_text()
    cut = "\n".join(whole_text.splitlines()[:-3]) + "\n"
    found = imported(tmp_path, "osu_latency-1.out", cut)
    assert "ends at size 524288, not 4194304" in str(found.unread[0])
    assert not found.records[0].sanity.ok


def test_a_file_that_holds_another_benchmark_than_its_name_says_is_refused(tmp_path: Path) -> None:
    found = imported(tmp_path, "osu_latency-1.out", BARRIER)
    assert "holds osu_barrier, but its name says osu_latency" in str(found.unread[0])


def test_a_file_that_no_rule_knows_is_named(tmp_path: Path) -> None:
    found = imported(tmp_path, "osu_gather-1.out", BARRIER)
    assert [str(u) for u in found.unread] == ["results-osu/bare-metal/osu_gather-1.out: no rule says what this file is"]


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    imported(tmp_path, "osu_barrier-4-64-1.out", BARRIER)
    (tmp_path / "in/results-osu/bare-metal/osu_barrier-4-64-1.out").write_bytes(b"\xff\x00")
    assert "utf-8" in str(import_dir(tmp_path / "in", tmp_path / "out").unread[0])


def test_an_import_into_a_folder_below_its_source_does_not_read_itself(tmp_path: Path) -> None:
    imported(tmp_path, "osu_barrier-4-64-1.out", BARRIER)
    for _ in range(2):
        found = import_dir(tmp_path / "in", tmp_path / "in" / "records")
        assert (found.files, list(found.unread)) == (1, [])


def test_every_wrong_field_of_a_layout_is_named(tmp_path: Path) -> None:
    layout = tmp_path / "layout.yaml"
    layout.write_text("files:\n- {path: a, format: osu, case: b, campaign: c, nodes: 0, color: red}\nignored: []\n")
    with pytest.raises(SpecError) as caught:
        import_dir(EXCERPTS, tmp_path / "out", layout)
    assert [path for path, _ in caught.value.problems] == ["files[0].nodes", "files[0].color", "ignored"]


def test_a_layout_that_names_no_known_format_says_which_there_are(tmp_path: Path) -> None:
    layout = tmp_path / "layout.yaml"
    layout.write_text(
        "files:\n- {path: '.*', format: hpl, case: hpl, campaign: c, place: p, nodes: 1, ranks_per_node: 1}\n"
    )
    with pytest.raises(UsageError, match=r"no format 'hpl'; known: .*osu"):
        import_dir(EXCERPTS, tmp_path / "out", layout)


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 2**31), st.floats(0, 1e9, allow_nan=False), min_size=1),
    st.sampled_from(["5.8", "7.4", "7.5-rc1"]),
)
def test_any_table_is_read_as_it_was_written(rows: dict[int, float], version: str) -> None:
    lines = [f"# OSU MPI Latency Test v{version}", "# Size          Latency (us)"]
    lines += [f"{size:<10}{latency:>20.2f}" for size, latency in rows.items()]
    [table] = parse("\n".join(lines) + "\n", known_format("osu"))
    assert {size: s.value for (_, size), s in table.samples.items()} == {k: float(f"{v:.2f}") for k, v in rows.items()}
    assert table.tool_version == version


@settings(deadline=None)
@given(st.integers(0, 90), st.text(st.characters(exclude_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")))
def test_a_foreign_line_anywhere_in_a_log_is_refused_or_harmless(position: int, line: str) -> None:
    lines = (LAMMPS / "bare-metal" / "lammps-4-64-1.out").read_text().splitlines()
    clean = parse("\n".join(lines) + "\n", known_format("lammps"))
    lines.insert(min(position, len(lines)), line)
    try:
        changed = parse("\n".join(lines) + "\n", known_format("lammps"))
    except LineError as error:
        assert error.line in range(1, len(lines) + 1)
    else:
        assert [t.samples for t in changed] == [t.samples for t in clean]
