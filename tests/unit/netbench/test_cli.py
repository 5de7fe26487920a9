"""The command line: verbs, wrong use, exit codes, JSON."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from netbench.cli import collection, run
from netbench.judge.stats import MIN_RUNS
from netbench.plan.quick import job_plan, quick_plan, what_next
from netbench.plan.runs import runs_of
from tests.unit.netbench.fakes import install


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rum"], "'rum' is not a verb of netbench; did you mean run?"),
        (["run", "--repeets", "3"], "run takes no flag --repeets; did you mean --repeats?"),
        (["run", "--nodes", "three"], "--nodes: expected a number, got 'three'"),
        (["run"], "nothing to run"),
        (["plan", "nope.yaml"], "nope.yaml"),
        (["plan", "--case", "osu_latencx"], "there is no case 'osu_latencx'"),
        (["plan", "--case", "noise", "--host", "a"], "expected NAME=ADDRESS"),
        (["plan", "nope.yaml", "--case", "noise"], "together"),
    ],
)
def test_wrong_use_is_exit_code_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["netbench", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_is_printed_and_nothing_is_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["netbench", "plan", "--case", "noise", "--repeats", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["runs"]) == 3
    assert shown["seconds"] > 0
    assert run(["netbench", "plan", "--case", "noise", "--repeats", "2"]) == 0
    assert "nothing was run" in capsys.readouterr().out


def test_cases_and_places_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["netbench", "cases", "--json"]) == 0
    assert "osu_barrier" in {row["case"] for row in json.loads(capsys.readouterr().out)}
    assert run(["netbench", "places"]) == 0
    assert "pod-flannel" in capsys.readouterr().out


def test_a_failed_run_is_exit_code_1_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(tmp_path / "mpi", figure="nan")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "apiVersion: usernetes.dev/v1alpha1\nkind: Benchmark\ncases: [osu_barrier]\nplaces: [bare-metal]\nrepeats: 1\n"
        f"warmups: 0\nmpi: {{transport: default}}\nsoftware: {{prefixes: [{tmp_path}/mpi]}}\n"
    )
    assert run(["netbench", "run", str(plan), "--out", str(tmp_path / "out"), "--json"]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert list(outcome["failed"]) == ["00000-osu_barrier-c0-n2-r2-bare-metal-001"]


def test_quick_brings_one_cluster_up_and_lets_the_places_take_turns_in_every_repeat() -> None:
    runs, left_out = runs_of(quick_plan())
    assert not left_out
    assert [state for state, _ in groupby(runs, lambda run: run.state)] == ["mesh"]
    repeats = [[run.place for run in group] for _, group in groupby(runs, lambda run: run.repeat)]
    assert all(sorted(places) == ["bare-metal-beside", "pod-mesh", "pod-native"] for places in repeats)
    assert len({tuple(places) for places in repeats}) > 1


def test_quick_makes_enough_runs_for_a_verdict() -> None:
    runs, _ = runs_of(quick_plan())
    assert sum(run.place == "pod-mesh" and run.repeat > 0 for run in runs) >= MIN_RUNS


def test_a_first_look_says_what_it_asked_and_how_to_ask_more() -> None:
    assert "10 runs a place" in what_next(10)
    assert "netbench quick --repeats 40 --seconds 0" in what_next(10)


@pytest.mark.parametrize("verb", sorted(collection().task_names))
def test_every_verb_has_a_page_and_takes_help_as_nothing_else(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["netbench", verb, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: netbench {verb} [--flags]")
    assert "--json" in page or verb == "import"


def test_a_job_compares_twenty_times_on_two_hosts() -> None:
    runs, _ = runs_of(job_plan())
    assert max(run.repeat for run in runs) == 20
    assert {run.node_count for run in runs} == {2}
