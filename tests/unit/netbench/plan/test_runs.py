"""The order of runs: every cell at every place in every block, shuffled by the seed, clusters changed seldom."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netbench.plan.runs import estimate, runs_of
from tests.unit.netbench.plan.test_document import plan

ALL = ["bare-metal", "bare-metal-beside", "pod-native", "pod-mesh", "pod-flannel"]


def campaign(repeats: int = 4, warmups: int = 1, seed: int = 7, **fields: object) -> object:
    return plan(
        places=ALL, cases=["osu_latency", "noise", "pod_start"], cluster={"managed": True},
        repeats=repeats, warmups=warmups, seed=seed, **fields,
    )  # fmt: skip


@given(st.integers(1, 6), st.integers(0, 2), st.integers(0, 10_000))
def test_every_block_holds_each_cell_once_at_each_of_its_places(repeats: int, warmups: int, seed: int) -> None:
    runs, _ = runs_of(campaign(repeats, warmups, seed))  # type: ignore[arg-type]
    for repeat in range(1 - warmups, repeats + 1):
        block = Counter((run.case, run.place) for run in runs if run.repeat == repeat)
        assert set(block.values()) == {1}
        assert len(block) == 2 * 5 + 3
    assert [run.order for run in runs] == list(range(len(runs)))
    assert len({run.id for run in runs}) == len(runs)


@given(st.integers(0, 10_000))
def test_within_a_block_each_state_of_the_cluster_is_visited_once(seed: int) -> None:
    runs, _ = runs_of(campaign(seed=seed))  # type: ignore[arg-type]
    for repeat in range(5):
        states = [run.state for run in runs if run.repeat == repeat]
        assert len([k for k, _ in itertools.groupby(states)]) == 3


def test_neighbouring_blocks_meet_in_the_same_state_so_that_drift_favours_none() -> None:
    runs, _ = runs_of(campaign())  # type: ignore[arg-type]
    for repeat in range(1, 4):
        last = [run.state for run in runs if run.repeat == repeat][-1]
        first = next(run.state for run in runs if run.repeat == repeat + 1)
        assert last == first


def test_the_seed_decides_the_order_and_nothing_else() -> None:
    one, two, other = (runs_of(campaign(seed=seed))[0] for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert one == two
    assert [r.id for r in one] != [r.id for r in other]
    assert Counter((r.case, r.place, r.repeat) for r in one) == Counter((r.case, r.place, r.repeat) for r in other)


def test_warm_ups_come_first_and_bare_metal_first_of_them() -> None:
    runs, _ = runs_of(campaign(warmups=2))  # type: ignore[arg-type]
    assert [run.warmup for run in runs] == sorted((run.warmup for run in runs), reverse=True)
    assert runs[0].place == "bare-metal"


def test_what_cannot_be_run_is_said() -> None:
    _, left_out = runs_of(campaign())  # type: ignore[arg-type]
    assert "pod_start at bare-metal: there are no pods" in left_out
    runs, left_out = runs_of(plan(cases=["osu_latency"], nodes=[2, 3], hosts=[]))
    assert left_out == ["osu_latency on 3 nodes with 3 ranks: osu_latency takes exactly 2 ranks"]
    assert {run.node_count for run in runs} == {2}


def test_a_state_may_be_kept_for_several_repeats() -> None:
    runs, _ = runs_of(campaign(repeats=6, repeatsPerVisit=5))  # type: ignore[arg-type]
    assert len([k for k, _ in itertools.groupby(run.state for run in runs)]) == 2 * 3 - 1
    assert {run.state for run in runs if run.repeat == 1} == {"none", "mesh", "flannel"}
    assert Counter(run.repeat for run in runs) == dict.fromkeys(range(7), 2 * 5 + 3)


def test_the_estimate_counts_changes_of_the_cluster_and_known_times() -> None:
    runs, _ = runs_of(campaign())  # type: ignore[arg-type]
    assert estimate(runs) > estimate([run for run in runs if run.state == "none"])
    known = {(run.case, run.cell): 100.0 for run in runs}
    assert estimate(runs, known) > 100 * len(runs)
