"""What a plan may say, and how its problems are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netbench.plan.document import API_VERSION, load_plan, plan_from, to_json
from usernetes_deploy.errors import SpecError, UsageError


def plan(**fields: Any) -> Any:
    usual = {"apiVersion": API_VERSION, "kind": "Benchmark", "cases": ["osu_latency"], "places": ["bare-metal"]}
    return plan_from({**usual, **fields})


def test_a_plan_needs_no_more_than_its_cases() -> None:
    made = plan_from({"apiVersion": API_VERSION, "kind": "Benchmark", "cases": ["noise"], "cluster": {"managed": True}})
    assert (made.repeats, made.warmups, made.nodes, made.mpi.transport) == (20, 1, (2,), "tcp")


def test_yaml_keys_are_camel_case_and_numbers_are_taken_as_parameters(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "apiVersion: usernetes.dev/v1alpha1\nkind: Benchmark\nplaces: [bare-metal]\nranksPerNode: [1, 2]\n"
        "cases:\n- noise\n- {case: lammps_lj, parameters: {x: 4}}\nmpi: {env: {UCX_LOG_LEVEL: warn}}\n"
    )
    made = load_plan(path)
    assert made.ranks_per_node == (1, 2)
    assert made.cases[1].parameters == {"x": "4"}
    assert made.mpi.env == {"UCX_LOG_LEVEL": "warn"}


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"cases": []}, "cases", "expected at least one"),
        ({"cases": ["osu_latencx"]}, "cases[0].case", "there is no case 'osu_latencx'"),
        (
            {"cases": [{"case": "noise", "parameters": {"size": "3"}}]},
            "cases[0].parameters.size",
            "it has work, quanta",
        ),
        ({"places": ["moon"]}, "places[0]", "there is no place 'moon'"),
        ({"places": ["bare-metal", "pod-native"]}, "places", "leaves no bare-metal"),
        ({"hosts": [{"name": "a", "address": "10.0.0.1"}]}, "nodes", "2 nodes, but only 1 hosts"),
        ({"hosts": [{"name": "a", "address": "x"}] * 2}, "hosts", "a stands there twice"),
        ({"mpi": {"launcher": "srun"}, "places": ["pod-native"]}, "mpi.launcher", "on bare metal only"),
        ({"timeLimit": 0}, "timeLimit", "expected >= 1, got 0"),
        ({"ranksPerNode": ["x"]}, "ranksPerNode[0]", "expected a whole number"),
        ({"repeat": 3}, "repeat", "is not a known field"),
        ({"apiVersion": "v2"}, "apiVersion", "expected the form"),
    ],
)
def test_a_bad_field_is_named_with_its_path(fields: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan(**fields)
    assert [(p, w) for p, w in caught.value.problems if p == path and problem in w], caught.value.problems


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SpecError, match="3 problems"):
        plan(cases=["a", "b"], places=["c"])


def test_a_file_that_is_no_yaml_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("cases: [\n")
    with pytest.raises(UsageError, match=r"plan\.yaml"):
        load_plan(tmp_path / "plan.yaml")


def test_the_text_of_a_plan_tells_plans_apart() -> None:
    assert to_json(plan()) == to_json(plan())
    assert to_json(plan(seed=2)) != to_json(plan())
