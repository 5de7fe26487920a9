"""Two campaigns side by side: the machine may differ, the cost is what is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netbench.judge.compare import Change, compare, in_words
from netbench.judge.verdict import Verdict
from netbench.records.record import Record
from netbench.report.compared import lead, write_compared
from tests.unit.netbench.made_up import campaign, node
from usernetes_deploy.errors import UsageError


def saved(folder: Path, records: list[Record]) -> Path:
    folder.mkdir()
    for one in records:
        one.save(folder)
    return folder


def sites(tmp_path: Path, cost: float) -> tuple[Path, Path]:
    """A fast machine where pods cost 2 %, and a slow one where they cost `cost`."""
    north = campaign({"bare-metal": 1.0, "pod-native": 1.02}, level=5, seed=1, sizes=(8, 1024))
    south = campaign({"bare-metal": 1.0, "pod-native": cost}, level=7, seed=2, sizes=(8, 1024))
    south = [replace(r, campaign="south", nodes=(node("s1"), node("s2"))) for r in south]
    return saved(tmp_path / "north", north), saved(tmp_path / "south", south)


def change(tmp_path: Path, cost: float, place: str = "pod-native") -> Change:
    found = compare(*sites(tmp_path, cost), names=("north", "south"))
    return next(c for c in found.changes if c.place == place)


def test_the_same_cost_on_two_machines_is_the_same_though_the_figures_are_not(tmp_path: Path) -> None:
    found = change(tmp_path, 1.02)
    assert found.cost is not None
    assert found.cost.text == "same within 3 % at all 2 sizes"
    assert found.own.overall == "refused"
    assert "other nodes (pod-native in north: node1, node2; pod-native in south: s1, s2)" in found.own.text


def test_a_higher_cost_is_found(tmp_path: Path) -> None:
    found = change(tmp_path, 1.15)
    assert found.cost is not None
    assert found.cost.overall == "slower"
    assert in_words(found.cost, ("north", "south")).startswith("costs more in south by ")


def test_the_baseline_has_no_cost_against_itself(tmp_path: Path) -> None:
    assert change(tmp_path, 1.02, "bare-metal").cost is None


def test_two_dates_on_the_same_nodes_are_compared_in_absolute_figures(tmp_path: Path) -> None:
    costs = {"bare-metal": 1.0, "pod-native": 1.02}
    before = saved(tmp_path / "a", campaign(costs, seed=1))
    after = saved(tmp_path / "b", [replace(r, campaign="later") for r in campaign(costs, level=5.5, seed=2)])
    found = compare(before, after)
    assert {c.own.overall for c in found.changes} == {"slower"}
    assert lead(found)[-1].startswith("The machine itself differs: bare-metal moved in 1 benchmark")


def test_an_unfair_comparison_on_one_side_makes_the_change_of_cost_unfair(tmp_path: Path) -> None:
    north, south = sites(tmp_path, 1.02)
    for path in south.glob("*pod-native*"):
        record = Record.from_json(path.read_text())
        replace(record, transport="shm").save(south)
    found = next(c for c in compare(north, south).changes if c.place == "pod-native")
    assert found.cost is not None
    assert found.cost.text == "not comparable: other transport (bare-metal: tcp; pod-native: shm)"


def test_what_only_one_side_has_is_named(tmp_path: Path) -> None:
    north, south = sites(tmp_path, 1.02)
    for path in south.glob("*pod-native*"):
        path.unlink()
    assert compare(north, south).only == ["osu_latency, 2 nodes, 2 ranks at pod-native: only in A"]


def test_two_campaigns_of_one_benchmark_in_a_folder_are_refused(tmp_path: Path) -> None:
    north, south = sites(tmp_path, 1.02)
    for path in sorted(south.iterdir()):
        record = Record.from_json(path.read_text())
        replace(record, campaign="another", id=f"x{record.id}").save(south)
    with pytest.raises(UsageError, match="two campaigns of osu_latency"):
        compare(north, south)


def test_an_empty_folder_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no usable record below"):
        compare(tmp_path / "empty", tmp_path / "empty")


def test_the_page_and_its_markdown_say_the_same(tmp_path: Path) -> None:
    html, markdown = write_compared(compare(*sites(tmp_path, 1.15), names=("north", "south")), tmp_path / "out")
    for text in (html.read_text(), markdown.read_text()):
        assert "north and south side by side" in text
        assert "Of 1 costs against bare-metal: 1 higher in south." in text
        assert "costs more in south by" in text
    assert "http" not in html.read_text().replace("http://www.w3.org", "")


def test_words_of_a_mixed_verdict_speak_of_cost() -> None:
    text = in_words(
        Verdict("mixed", "slower by 4-5 % (8 B), 1 of 2 sizes; same within 3 % at 1 of 2 sizes"), ("A", "B")
    )
    assert text == "costs more in B by 4-5 % (8 B), 1 of 2 sizes; costs the same within 3 % at 1 of 2 sizes"
