"""From records to comparisons: what belongs together, what is paired, what is left out and said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netbench.judge.study import Comparison, blocks, group, study
from netbench.records.record import Case, Record, Sample, Sanity
from tests.unit.netbench.made_up import campaign, record
from usernetes_deploy.errors import UsageError

COSTS = {"bare-metal": 1.0, "pod-native": 1.05}


def rules(comparison: Comparison) -> list[str]:
    return [f.rule for f in comparison.findings]


def test_every_place_is_compared_with_the_baseline_for_each_metric() -> None:
    made = campaign({**COSTS, "pod-mesh": 3.0})
    two = [replace(r, samples=(*r.samples, replace(r.samples[0], metric="jitter"))) for r in made]
    found = study(two)
    assert [(c.other.place, c.metric) for c in found.comparisons] == [
        ("pod-native", "latency"),
        ("pod-native", "jitter"),
        ("pod-mesh", "latency"),
        ("pod-mesh", "jitter"),
    ]
    assert found.places() == ["bare-metal", "pod-native", "pod-mesh"]


def test_figures_for_information_are_not_judged() -> None:
    made = [replace(r, samples=(*r.samples, Sample("cpu_use", "%", 99.0, "none"))) for r in campaign(COSTS)]
    assert [c.metric for c in study(made).comparisons] == ["latency"]


def test_builtin_and_real_osu_are_never_put_side_by_side() -> None:
    builtin = Case("osu_latency", "osu", "netbench", "0.1", "builtin")
    made = [replace(r, case=builtin) if r.place == "pod-native" else r for r in campaign(COSTS)]
    found = study(made)
    assert not found.comparisons
    assert found.without_baseline == [
        "osu_latency (builtin), 2 nodes, 2 ranks: no run at bare-metal, only at pod-native"
    ]


def test_runs_that_took_turns_are_paired_block_by_block() -> None:
    made = campaign(COSTS)
    assert all(c.paired for c in study(made).comparisons)
    base, other = group(made)
    runs = blocks(base, other)
    assert runs is not None
    assert [r.repeat for r in runs[0]] == [r.repeat for r in runs[1]] == list(range(1, 21))


def test_runs_that_did_not_take_turns_are_not_paired() -> None:
    assert not any(c.paired for c in study([replace(r, interleaved=False) for r in campaign(COSTS)]).comparisons)


def test_a_run_without_a_partner_is_left_out_and_said() -> None:
    made = campaign(COSTS)[:-1]
    [found] = study(made).comparisons
    assert len(found.base_values) == len(found.other_values) == 19
    assert [f.text for f in found.findings] == ["1 run without a partner in the same block"]


def test_failed_runs_are_kept_apart_and_flagged() -> None:
    made = campaign(COSTS)
    made[1] = replace(made[1], samples=(), sanity=Sanity(ok=False, reason="it hung"))
    [found] = study(made).comparisons
    assert len(found.other.failed) == 1
    assert set(rules(found)) == {"failed runs", "blocks"}


def test_a_run_that_failed_before_it_named_its_tool_belongs_to_those_that_did() -> None:
    made = campaign(COSTS)
    made[1] = replace(made[1], samples=(), sanity=Sanity(ok=False, reason="not found"), case=Case("osu_latency", "osu"))
    [found] = study(made).comparisons
    assert len(found.other.failed) == 1


def test_a_place_where_every_run_failed_is_not_decided_but_seen() -> None:
    made = [
        replace(r, samples=(), sanity=Sanity(ok=False, reason="image missing")) if r.place == "pod-native" else r
        for r in campaign(COSTS)
    ]
    [found] = study(made).comparisons
    assert found.verdict.overall == "undecided"
    assert "failed runs" in rules(found)


def test_warm_up_runs_do_not_count() -> None:
    warm = [
        replace(r, id=f"w{r.id}", warmup=True, samples=(replace(r.samples[0], value=1e6),)) for r in campaign(COSTS)
    ]
    made = campaign(COSTS)
    assert study([*made, *warm]).comparisons[0].verdict == study(made).comparisons[0].verdict


def test_sizes_that_some_runs_lack_are_left_out_and_said() -> None:
    made = campaign(COSTS)
    made[0] = replace(made[0], samples=made[0].samples[:-1])
    [found] = study(made).comparisons
    assert list(found.sizes) == [0, 8, 1024, 65536]
    assert [f.text for f in found.findings] == [
        "1 size is left out: not in all runs, or with a value that is not positive"
    ]


def test_a_value_of_zero_has_no_ratio() -> None:
    def zero(r: Record) -> Record:
        return replace(r, samples=(replace(r.samples[0], value=0.0), *r.samples[1:]))

    [found] = study([zero(r) for r in campaign(COSTS)]).comparisons
    assert list(found.sizes) == [8, 1024, 65536, 4194304]


def test_two_campaigns_in_one_folder_are_compared_each_for_itself() -> None:
    monday, tuesday = campaign(COSTS), [replace(r, campaign="tuesday", id=f"t{r.id}") for r in campaign(COSTS, seed=2)]
    found = study([*monday, *tuesday])
    assert [c.key.campaign for c in found.comparisons] == ["made up", "tuesday"]


def test_a_comparison_does_not_change_when_others_are_added() -> None:
    alone = study(campaign(COSTS)).comparisons[0].verdict
    more = campaign({"bare-metal": 1.0}, case=Case("osu_bcast", "osu", "osu-micro-benchmarks", "7.4", "OSU"))
    assert study([*more, *campaign(COSTS)]).comparisons[0].verdict == alone


def test_the_same_seed_gives_the_same_study_and_another_seed_another_interval() -> None:
    one, two, other = (study(campaign(COSTS), seed=s).comparisons[0].verdict for s in (1, 1, 2))
    assert one == two
    assert one != other


def test_no_run_at_the_baseline_is_wrong_use_and_names_the_places() -> None:
    with pytest.raises(UsageError, match="no runs at the baseline 'bare-metal'; places: pod-native"):
        study([record("pod-native")], baseline="bare-metal")
    with pytest.raises(UsageError, match="no runs but warm-ups"):
        study([replace(record(), warmup=True)])


def test_without_bare_metal_the_place_nearest_to_it_is_the_baseline() -> None:
    assert (
        study([record("pod-mesh"), record("bare-metal-beside"), record("pod-native")]).baseline == "bare-metal-beside"
    )


def test_another_baseline_can_be_chosen() -> None:
    found = study(campaign(COSTS), baseline="pod-native")
    assert [(c.base.place, c.other.place, c.verdict.overall) for c in found.comparisons] == [
        ("pod-native", "bare-metal", "faster")
    ]


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_that_makes_no_sense_is_wrong_use(margin: float) -> None:
    with pytest.raises(UsageError, match="margin"):
        study(campaign(COSTS), margin=margin)


def test_parameters_are_shown_only_where_they_tell_two_benchmarks_apart_and_change_no_interval() -> None:
    def sized(x: str) -> list[Record]:
        case = Case("lammps_hns", "lammps", parameters={"x": x, "steps": "20"})
        return [replace(r, id=f"{x}{r.id}") for r in campaign(COSTS, case=case)]

    alone, both = study(sized("2")), study([*sized("2"), *sized("4")])
    assert [c.key.title() for c in alone.comparisons] == ["lammps_hns, 2 nodes, 2 ranks"]
    assert [c.key.title() for c in both.comparisons] == [
        "lammps_hns x=2, 2 nodes, 2 ranks",
        "lammps_hns x=4, 2 nodes, 2 ranks",
    ]
    assert both.comparisons[0].verdict == alone.comparisons[0].verdict


def test_the_campaign_is_shown_where_two_of_them_ran_the_same() -> None:
    both = study([*campaign(COSTS), *(replace(r, campaign="another") for r in campaign(COSTS))])
    assert [c.key.title().rpartition(" campaign=")[2].partition(",")[0] for c in both.comparisons] == [
        "another",
        "made up",
    ]
    assert "campaign" not in study(campaign(COSTS)).comparisons[0].key.title()
