"""Verdicts in words, on intervals and on made-up campaigns whose truth is known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbench.judge.fairness import Finding
from netbench.judge.stats import Interval
from netbench.judge.study import Comparison, study
from netbench.judge.verdict import Judgement, bytes_in_words, conclude, judge, percent_range, sizes_in_words
from tests.unit.netbench.made_up import SIZES, campaign


def compared(cost: float, **settings: object) -> Comparison:
    """The comparison of a campaign in which pod-native truly costs `cost`."""
    [found] = study(campaign({"bare-metal": 1.0, "pod-native": cost}, **settings)).comparisons  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("low", "high", "better", "outcome"),
    [
        (0.98, 1.02, "lower", "same"),
        (1.005, 1.02, "lower", "same"),
        (1.01, 1.05, "lower", "slower"),
        (1.01, 1.05, "higher", "faster"),
        (0.80, 0.90, "lower", "faster"),
        (0.80, 0.90, "higher", "slower"),
        (0.99, 1.05, "lower", "undecided"),
        (0.96, 1.00, "higher", "undecided"),
    ],
)
def test_an_interval_means(low: float, high: float, better: str, outcome: str) -> None:
    assert judge(Interval((low * high) ** 0.5, low, high), better=better, n=20).outcome == outcome


def test_a_place_that_costs_nothing_is_the_same() -> None:
    assert compared(1.0, sizes=(None,)).verdict.text == "same within 3 %"
    assert compared(1.0).verdict.text == "same within 3 % at all 5 sizes"


def test_a_place_that_costs_eight_percent_is_slower_by_about_that() -> None:
    found = compared(1.08, sizes=(None,)).verdict
    assert found.overall == "slower"
    assert found.text.startswith("slower by ")
    low, high = (float(part) for part in found.text.removeprefix("slower by ").removesuffix(" %").split("-"))
    assert low < 8 < high
    assert high - low < 4


def test_less_bandwidth_is_slower() -> None:
    found = compared(0.8, metric="bandwidth", unit="MB/s", better="higher", sizes=(None,)).verdict
    assert found.overall == "slower"
    assert found.text.startswith(("slower by 19", "slower by 18", "slower by 20"))


def test_a_place_that_is_faster_is_said_to_be_faster() -> None:
    assert compared(0.9, sizes=(None,)).verdict.text.startswith("faster by ")


def test_noise_is_not_decided_and_the_runs_missing_are_said() -> None:
    found = compared(1.0, noise=0.06, runs=10, sizes=(None,)).verdict
    assert found.overall == "undecided"
    assert found.text.startswith("not decided: ")
    assert found.text.endswith(" more runs")


def test_the_runs_that_are_missing_do_decide() -> None:
    first = compared(1.0, noise=0.04, runs=10, sizes=(None,)).verdict
    more = first.judgements[0].more
    assert first.overall == "undecided"
    assert more is not None
    assert compared(1.0, noise=0.04, runs=10 + 2 * more, sizes=(None,)).verdict.overall == "same"


@pytest.mark.parametrize(("cost", "wrong"), [(1.0, {"slower", "faster"}), (1.05, {"same", "faster"})])
def test_wrong_verdicts_are_rare(cost: float, wrong: set[str]) -> None:
    said = [compared(cost, seed=seed, runs=12, noise=0.02, sizes=(None,)).verdict.overall for seed in range(60)]
    assert sum(overall in wrong for overall in said) <= 6


def test_few_runs_are_not_decided_whatever_they_show() -> None:
    assert compared(3.0, runs=4).verdict.text == "not decided: 2 more runs at least"
    assert compared(3.0, runs=5).verdict.text == "not decided: 1 more run at least"


def test_only_some_sizes_are_slower() -> None:
    judgements = [
        Judgement(8, Interval(1.08, 1.04, 1.12), "slower"),
        Judgement(16, Interval(1.3, 1.2, 1.4), "slower"),
        Judgement(1024, Interval(1.0, 0.99, 1.01), "same"),
        Judgement(65536, Interval(1.0, 0.9, 1.1), "undecided", 12),
    ]
    found = conclude(judgements, [], runs=(20, 20))
    assert found.overall == "mixed"
    assert found.text == (
        "slower by 4-12 % (8 B) up to 20-40 % (16 B) at 2 of 4 sizes (8 B-16 B); "
        "same within 3 % at 1 of 4 sizes (1 KiB); not decided: 12 more runs at 1 of 4 sizes (64 KiB)"
    )


def test_the_same_at_some_sizes_and_open_at_others_is_not_decided() -> None:
    judgements = [
        Judgement(8, Interval(1.0, 0.99, 1.01), "same"),
        Judgement(16, Interval(1.0, 0.9, 1.1), "undecided", 12),
    ]
    assert conclude(judgements, [], runs=(20, 20)).overall == "undecided"


def test_what_is_refused_has_no_verdict_but_a_reason() -> None:
    judgements = [Judgement(8, Interval(2.7, 2.6, 2.8), "slower")]
    findings = [Finding("cpu limit", "refuse", "CPU limit: a none, b 7 cores"), Finding("x", "flag", "never mind")]
    found = conclude(judgements, findings, runs=(20, 20))
    assert (found.overall, found.text) == ("refused", "not comparable: CPU limit: a none, b 7 cores")


def test_a_benchmark_without_a_common_size_is_not_decided() -> None:
    assert conclude([], [], runs=(20, 20)).text.startswith("not decided: no size that all runs measured")


def test_two_ends_that_read_the_same_are_said_once() -> None:
    judgements = [Judgement(size, Interval(0.11, 0.1102, 0.1098), "slower") for size in (8, 16)]
    assert conclude(judgements, [], runs=(20, 20)).text == "slower by 89 % at all 2 sizes"


@settings(deadline=None)
@given(st.sets(st.sampled_from(SIZES), min_size=1))
def test_ranges_of_sizes_name_each_end(chosen: set[int]) -> None:
    text = sizes_in_words(sorted(chosen), SIZES)
    assert bytes_in_words(min(chosen)) in text
    assert bytes_in_words(max(chosen)) in text


@settings(deadline=None)
@given(st.floats(1e-6, 10), st.floats(1e-6, 10))
def test_percentages_are_never_rounded_away(low: float, high: float) -> None:
    text = percent_range(low, high)
    shown = [float(part) for part in text.removesuffix(" %").split("-") if part]
    assert all(value > 0 for value in shown)
