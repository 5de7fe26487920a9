"""Statistics: against scipy, against made-up data with known answers, and what must hold for any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from netbench.judge.stats import (
    MIN_RUNS,
    Interval,
    Values,
    drift,
    median_band,
    more_runs,
    ratio_intervals,
    ratio_of_ratios,
    summarise,
)

POSITIVE = st.floats(0.01, 1e6, allow_nan=False)


def noisy(n: int, sizes: int = 1, *, level: float = 1.0, sd: float = 0.03, seed: int = 0) -> Values:
    made: Values = level * np.exp(np.random.default_rng(seed).normal(0, sd, (n, sizes)))
    return made


def test_summary_says_what_scipy_says() -> None:
    data = noisy(15, seed=3)[:, 0]
    found = summarise(data)
    assert found.mad == pytest.approx(scipy.stats.median_abs_deviation(data), rel=1e-12)
    described = scipy.stats.describe(data)
    assert (found.n, found.minimum, found.maximum) == (described.nobs, *described.minmax)
    assert found.mean == pytest.approx(described.mean, rel=1e-12)
    assert found.sd == pytest.approx(math.sqrt(described.variance), rel=1e-12)


def test_outliers_are_named_by_position_and_do_not_move_the_median() -> None:
    found = summarise([90.0, 91.0, 89.0, 90.5, 6974.0])
    assert (found.outliers, found.median) == ((4,), 90.5)
    assert found.mean > 1000


def test_runs_that_differ_by_less_than_the_printed_digits_have_no_outliers() -> None:
    assert summarise([7.46, 7.46, 7.46, 7.47]).outliers == ()


def test_the_band_of_a_median_is_scipys_percentile_bootstrap() -> None:
    data = noisy(20, seed=4)
    low, high = median_band(data, seed=1, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (data[:, 0],), np.median, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert low[0] == pytest.approx(theirs.low, rel=2e-3)
    assert high[0] == pytest.approx(theirs.high, rel=2e-3)


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_of_one_ratio_is_as_wide_as_scipys(paired: bool) -> None:
    base, other = noisy(30, seed=5), noisy(30, level=1.2, seed=6)

    def ratio(a: Values, b: Values, axis: int = -1) -> Values:
        found: Values
        if paired:
            found = np.exp(np.median(np.log(b / a), axis=axis))
        else:
            found = np.median(b, axis=axis) / np.median(a, axis=axis)
        return found

    theirs = scipy.stats.bootstrap(
        (base[:, 0], other[:, 0]),
        ratio,
        paired=paired,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    [ours] = ratio_intervals(base, other, paired=paired, seed=1, resamples=20_000)
    assert ours.ratio == pytest.approx(float(ratio(base[:, 0], other[:, 0])), rel=1e-12)
    assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.35)
    assert ours.low < 1.2 < ours.high


@pytest.mark.parametrize(("paired", "runs"), [(False, 10), (False, 20), (True, 10), (True, 20)])
def test_all_sizes_together_hold_the_truth_in_95_of_100_campaigns(paired: bool, runs: int) -> None:
    truth, sizes, campaigns, held = 1.07, 12, 200, 0
    for seed in range(campaigns):
        rng = np.random.default_rng(seed)
        block = np.exp(rng.normal(0, 0.05, (runs, 1))) if paired else 1.0
        base = block * noisy(runs, sizes, seed=2 * seed + 10_000)
        other = block * noisy(runs, sizes, level=truth, seed=2 * seed + 10_001)
        found = ratio_intervals(base, other, paired=paired, seed=seed, resamples=600)
        held += all(interval.low <= truth <= interval.high for interval in found)
    # Binomial: 95 of 100 in truth leaves [0.90, 1] for 200 campaigns but for one case in a thousand.
    assert held / campaigns >= 0.90


def test_pairs_cancel_what_changes_from_block_to_block() -> None:
    block = np.exp(np.random.default_rng(1).normal(0, 0.3, (20, 1)))
    base, other = block * noisy(20, sd=0.01, seed=2), block * noisy(20, sd=0.01, seed=3)
    [paired] = ratio_intervals(base, other, paired=True, seed=1)
    [unpaired] = ratio_intervals(base, other, paired=False, seed=1)
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 5


def test_more_sizes_make_wider_intervals() -> None:
    base, other = noisy(20, 24, seed=1), noisy(20, 24, seed=2)
    together = ratio_intervals(base, other, paired=False, seed=1)
    alone = [ratio_intervals(base[:, [i]], other[:, [i]], paired=False, seed=1)[0] for i in range(24)]
    assert np.mean([i.high - i.low for i in together]) > 1.2 * np.mean([i.high - i.low for i in alone])


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=12), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_ratio_lies_in_its_interval_and_the_seed_decides(
    rows: list[tuple[float, float]], paired: bool, seed: int
) -> None:
    base, other = np.array([[a] for a, _ in rows]), np.array([[b] for _, b in rows])
    [found] = ratio_intervals(base, other, paired=paired, seed=seed, resamples=50)
    assert 0 < found.low <= found.ratio <= found.high
    assert [found] == ratio_intervals(base, other, paired=paired, seed=seed, resamples=50)


@given(st.floats(0.01, 100), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_factor_on_one_side_is_a_factor_on_the_ratio(factor: float, paired: bool) -> None:
    base, other = noisy(8, 3, seed=1), noisy(8, 3, seed=2)
    plain = ratio_intervals(base, other, paired=paired, seed=1, resamples=50)
    scaled = ratio_intervals(base, factor * other, paired=paired, seed=1, resamples=50)
    for one, two in zip(plain, scaled, strict=True):
        assert two.ratio == pytest.approx(factor * one.ratio, rel=1e-9)
        assert two.low == pytest.approx(factor * one.low, rel=1e-9)


@settings(deadline=None)
@given(st.lists(POSITIVE, min_size=1, max_size=30))
def test_the_order_of_the_runs_does_not_matter_to_a_summary(values: list[float]) -> None:
    one, two = summarise(values), summarise(sorted(values))
    assert (one.median, one.mad, one.minimum, one.maximum) == (two.median, two.mad, two.minimum, two.maximum)
    assert len(one.outliers) == len(two.outliers) < max(len(values) / 2, 1)


@pytest.mark.parametrize(
    ("base", "other", "paired", "text"),
    [
        (np.ones(3), np.ones(3), False, r"expected \[run, size\]"),
        (np.ones((3, 1)), np.ones((3, 2)), False, "same sizes"),
        (np.ones((3, 1)), np.ones((4, 1)), True, "equally many"),
        (np.zeros((3, 1)), np.ones((3, 1)), False, "positive"),
    ],
)
def test_data_that_has_no_ratio_is_refused(base: Values, other: Values, paired: bool, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ratio_intervals(base, other, paired=paired, seed=1)


def test_the_change_of_a_cost_is_found_though_the_machines_differ() -> None:
    first = (noisy(20, level=5, sd=0.01, seed=1), noisy(20, level=5.1, sd=0.01, seed=2), False)
    second = (noisy(20, level=9, sd=0.01, seed=3), noisy(20, level=9 * 1.02 * 1.1, sd=0.01, seed=4), False)
    [found] = ratio_of_ratios(first, second, seed=1)
    assert found.low < 1.1 < found.high
    assert found.high - found.low < 0.06


def test_the_runs_asked_for_decide_in_most_cases_when_they_are_made() -> None:
    asked, decided = 0, 0
    for seed in range(60):
        base, other = noisy(10, sd=0.04, seed=seed), noisy(10, sd=0.04, seed=seed + 1000)
        [found] = ratio_intervals(base, other, paired=False, seed=1, resamples=500)
        more = more_runs(found, 10, 0.03)
        if found.low <= 1 <= found.high and more:
            n = 10 + more
            base, other = noisy(n, sd=0.04, seed=seed + 2000), noisy(n, sd=0.04, seed=seed + 3000)
            [later] = ratio_intervals(base, other, paired=False, seed=1, resamples=500)
            asked += 1
            decided += 0.97 <= later.low <= later.high <= 1.03
    assert asked > 40
    assert decided > asked / 2


def test_hopeless_noise_asks_for_no_number_of_runs() -> None:
    assert more_runs(Interval(1.0, 0.5, 2.0), 10, 0.03) is None


def test_six_runs_are_the_fewest_whose_range_covers_a_median() -> None:
    assert 1 - 2 * scipy.stats.binom.pmf(0, MIN_RUNS, 0.5) >= 0.95 > 1 - 2 * scipy.stats.binom.pmf(0, MIN_RUNS - 1, 0.5)


def test_drift_is_seen_and_noise_is_not() -> None:
    steady = noisy(20, 5, seed=1)
    rising = steady * np.linspace(1.0, 1.15, 20)[:, None]
    ratio, p = drift(rising, seed=1)
    assert ratio == pytest.approx(1.1, abs=0.03)
    assert p < 0.01
    assert sum(drift(noisy(20, 5, seed=s), seed=1, resamples=400)[1] < 0.01 for s in range(100)) <= 5
