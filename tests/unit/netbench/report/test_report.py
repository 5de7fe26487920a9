"""The report as files: what it says first, what it contains, how large it is, and that it can be repeated."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from netbench.records.record import Case, Record, Sanity
from netbench.report import Written, write_report
from tests.unit.netbench.made_up import SIZES, campaign
from usernetes_deploy.errors import UsageError

PLACES = {"bare-metal": 1.0, "bare-metal-beside": 1.0, "pod-native": 1.0, "pod-mesh": 4.0, "pod-flannel": 9.0}
LAMMPS = Case("lammps_hns", "lammps", "lammps", "2 Aug 2023", "LAMMPS", {"x": "8"})
NOISE = Case("noise", "noise", "netbench", "0.1", "builtin")


def records(runs: int = 12) -> list[Record]:
    made = campaign(PLACES, runs=runs)
    for nodes in (2, 4):
        made += campaign(
            {"bare-metal": 1.0, "pod-native": 1.0},
            runs=runs,
            case=LAMMPS,
            metric="loop_time",
            unit="s",
            sizes=(None,),
            node_count=nodes,
        )
    made += campaign(
        {"bare-metal": 1.0, "bare-metal-beside": 1.1},
        runs=runs,
        case=NOISE,
        metric="quantum",
        sizes=(None,),
        node_count=1,
    )
    return made


def written(tmp_path: Path, made: list[Record], **settings: float) -> Written:
    folder = tmp_path / "records"
    folder.mkdir(exist_ok=True)
    for record in made:
        record.save(folder)
    return write_report(folder, tmp_path / "out", **settings)  # type: ignore[arg-type]


class Checker(HTMLParser):
    """Collects ids and links, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.ids += [held["id"] or ""] if "id" in held else []
        self.links += [held["href"] or ""] if tag == "a" else []
        self.sources += [held[name] or "" for name in ("src", "data", "action") if name in held]
        if tag not in {"meta", "br", "link", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


def test_the_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    html = written(tmp_path, records()).html.read_text()
    page = checked(html)
    assert len(page.ids) == len(set(page.ids))
    assert page.sources == []
    for link in page.links:
        assert link in {"report.csv", "report.md"} or link.removeprefix("#") in page.ids
    assert "url(http" not in html
    assert "@import" not in html
    assert "<script" not in html


def test_the_verdict_comes_first_and_is_true(tmp_path: Path) -> None:
    html = written(tmp_path, records()).html.read_text()
    order = [
        html.index(f'<section id="{name}"') for name in ("verdict", "benchmarks", "conditions", "method", "repeat")
    ]
    assert order == sorted(order)
    assert "Shown to be as fast as bare-metal within 3 %: pod-native (in all 3)" in html
    assert "Slower than bare-metal: pod-mesh (in all 1), pod-flannel (in all 1)" in html


def test_every_benchmark_has_its_plots_and_lammps_its_scaling(tmp_path: Path) -> None:
    html = written(tmp_path, records()).html.read_text()
    assert html.count("<svg") == 2 * 5
    assert "lammps_hns: loop time over the number of nodes" in html
    assert "ratio to bare-metal, lower is better (band: ±3 %)" in html
    assert "time of a fixed piece of work of every run, us (bar: median)" in html


def test_too_few_runs_are_shown_without_a_ratio(tmp_path: Path) -> None:
    html = written(tmp_path, records(runs=3)).html.read_text()
    assert "not decided: 3 more runs at least" in html
    assert html.count("<svg") == 5
    assert "ratio to bare-metal" not in html[html.index("<svg") :]
    assert "slower" not in html[html.index("<tbody>") : html.index("</tbody>")]


def test_plots_take_their_colours_from_the_theme(tmp_path: Path) -> None:
    html = written(tmp_path, records()).html.read_text()
    drawings = html[html.index("<svg") :]
    for variable in ("var(--text)", "var(--grid)", "var(--margin)", "var(--place-0)", "var(--place-4)"):
        assert variable in drawings
    assert "#00ff0" not in html


def test_markdown_says_what_the_page_says(tmp_path: Path) -> None:
    found = written(tmp_path, records())
    text = found.markdown.read_text()
    assert text.startswith("# What do pods cost?\n")
    for comparison in found.study.comparisons:
        assert f"- **{comparison.other.place}**: {comparison.verdict.text}." in text
        assert comparison.verdict.text in found.html.read_text()


def test_csv_has_every_figure_with_all_digits(tmp_path: Path) -> None:
    made = records()
    rows = list(csv.DictReader(io.StringIO(written(tmp_path, made).csv.read_text())))
    assert len(rows) == 5 * len(SIZES) + 2 * 2 + 2
    row = next(r for r in rows if (r["place"], r["benchmark"], r["size_bytes"]) == ("pod-mesh", "osu_latency", "8"))
    values = [s.value for r in made if r.place == "pod-mesh" for s in r.samples if s.size == 8]
    assert float(row["median"]) == float(np.median(values))
    assert float(row["mean"]) == float(np.mean(values))
    assert row["outcome"] == "slower"
    assert float(row["ratio_low"]) < 4 < float(row["ratio_high"])


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path, records()).html.read_bytes()
    assert written(tmp_path, records()).html.read_bytes() == first


def test_failed_runs_and_unusable_records_are_named(tmp_path: Path) -> None:
    made = records()
    made[1] = replace(made[1], samples=(), sanity=Sanity(ok=False, reason="rank 1 was lost <signal 9>"))
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "edited.record.json").write_text(made[0].to_json().replace('"ranks": 2', '"ranks": "two"'))
    found = written(tmp_path, made)
    html = found.html.read_text()
    assert "rank 1 was lost &lt;signal 9&gt;" in html
    assert "ranks: expected a whole number, got &#39;two&#39;" in html
    assert "1 run failed and has no figures" in html
    assert len(found.unreadable) == 1


def test_a_refused_comparison_says_so_at_the_top(tmp_path: Path) -> None:
    made = [replace(r, transport="shm") if r.place == "pod-native" else r for r in records()]
    html = written(tmp_path, made).html.read_text()
    assert "Not comparable (transport): osu_latency (pod-native); lammps_hns (pod-native)." in html
    assert "refused because the conditions differ" in html


def test_margin_and_seed_are_stated(tmp_path: Path) -> None:
    html = written(tmp_path, records(), margin=0.05, seed=9).html.read_text()
    assert "±5 %" in html
    assert "netbench report RECORDS --baseline bare-metal --margin 5 --seed 9" in html


def test_a_folder_without_a_usable_record_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "bad.record.json").write_text("{}")
    with pytest.raises(UsageError, match="no usable record"):
        write_report(tmp_path, tmp_path / "out")


def test_a_benchmark_without_a_baseline_is_shown_and_not_judged(tmp_path: Path) -> None:
    only = campaign(
        {"pod-native": 1.0}, case=Case("pod_start", "pods"), metric="start_latency", unit="s", sizes=(None,)
    )
    html = written(tmp_path, [*records(), *only]).html.read_text()
    assert "pod_start, 2 nodes, 2 ranks: time until a pod runs, not compared" in html
    assert "no run at bare-metal, only at pod-native" in html


def test_the_page_of_a_whole_campaign_has_5_megabytes_at_most(tmp_path: Path) -> None:
    """The shape of the published campaign, with fewer runs: places and sizes make the page, runs hardly do."""
    sizes = tuple(2**i for i in range(23))
    bandwidth = Case("osu_bw", "osu", "osu-micro-benchmarks", "7.4", "OSU")
    made = campaign(PLACES, sizes=sizes, runs=6)
    made += campaign(PLACES, sizes=sizes, runs=6, case=bandwidth, metric="bandwidth", unit="MB/s", better="higher")
    folder = tmp_path / "records"
    folder.mkdir()
    for record in made:
        record.save(folder)
    found = write_report(folder, tmp_path / "out")
    assert found.html.stat().st_size < 5_000_000
    checked(found.html.read_text())


def test_names_of_records_can_be_neither_html_nor_formulas(tmp_path: Path) -> None:
    case = Case("osu_latency", "osu", "osu", "7.5", "=1+<script>alert(1)</script>")
    found = written(tmp_path, campaign({"bare-metal": 1.0, "pod-mesh": 2.0}, runs=12, case=case))
    assert "<script>" not in found.markdown.read_text()
    assert "&lt;script>" in found.markdown.read_text()
    rows = list(csv.DictReader(io.StringIO(found.csv.read_text())))
    assert {row["label"][:4] for row in rows} == {"'=1+"}
