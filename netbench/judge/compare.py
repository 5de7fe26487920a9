"""Puts two campaigns side by side, from two sites or two dates: what changed of the machine, what of the cost of pods.

Two machines differ in everything, so their absolute figures are compared only where the rules of fairness allow it.
What carries over is the cost: the ratio of a place to its own baseline. Its change is judged in any case where both
sides' own comparisons are fair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from netbench.judge.fairness import Finding
from netbench.judge.stats import MARGIN, MIN_RUNS, ratio_of_ratios
from netbench.judge.study import Comparison, Key, Series, Study, compare_series, steady_seed, study
from netbench.judge.verdict import Judgement, Verdict, conclude, judge
from netbench.records.record import RecordError, load_dir
from usernetes_deploy.errors import UsageError

# These differ on purpose here.
_EXPECTED = ("campaign", "interleaving", "blocks")


@dataclass(frozen=True)
class Change:
    """One metric at one place: `own` compares the place with itself, `cost` its ratio to the baseline (not for it)."""

    key: Key
    place: str
    metric: str
    own: Verdict
    cost: Verdict | None
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Compared:
    """Everything that two campaigns share, and what only one of them has."""

    names: tuple[str, str]
    changes: Sequence[Change]
    only: Sequence[str]
    margin: float
    seed: int
    baseline: str
    unreadable: Sequence[RecordError]


def compare(
    first: Path,
    second: Path,
    *,
    names: tuple[str, str] = ("A", "B"),
    baseline: str = "",
    margin: float = MARGIN,
    seed: int = 1,
) -> Compared:
    """Compare the records below `first` with those below `second`.

    Raises `UsageError` when one of them has no usable records, or several campaigns of the same benchmark.
    """
    studies, unreadable = [], []
    for folder in (first, second):
        records, problems = load_dir(folder)
        if not records:
            raise UsageError(f"no usable record below {folder}")
        unreadable += problems
        studies.append(study(records, baseline=baseline, margin=margin, seed=seed))
    held = [_by_place(one, folder) for one, folder in zip(studies, (first, second), strict=True)]
    changes = []
    for key, place in [pair for pair in held[0] if pair in held[1]]:
        changes += _changes(studies, held, names, key, place, margin=margin, seed=seed)
    only = [
        f"{key.title()} at {place}: only in {name}"
        for name, mine, theirs in ((names[0], *held), (names[1], *reversed(held)))
        for key, place in mine
        if (key, place) not in theirs
    ]
    return Compared(names, changes, only, margin, seed, studies[0].baseline, unreadable)


def in_words(verdict: Verdict, names: tuple[str, str]) -> str:
    """A verdict on a change of cost: ``costs more`` instead of ``slower``.

    >>> in_words(Verdict("slower", "slower by 2-4 %"), ("A", "B"))
    'costs more in B by 2-4 %'
    """
    text = verdict.text.replace("slower by", f"costs more in {names[1]} by")
    text = text.replace("faster by", f"costs less in {names[1]} by")
    return text.replace("same within", "costs the same within")


def _by_place(one: Study, folder: Path) -> dict[tuple[Key, str], Series]:
    held: dict[tuple[Key, str], Series] = {}
    for series in one.series:
        where = (replace(series.key, campaign=""), series.place)
        if where in held:
            campaigns = f"{held[where].key.campaign!r} and {series.key.campaign!r}"
            raise UsageError(f"{folder} holds two campaigns of {series.key.title()}: {campaigns}; give one of them")
        held[where] = series
    return held


def _changes(
    studies: Sequence[Study],
    held: Sequence[dict[tuple[Key, str], Series]],
    names: tuple[str, str],
    key: Key,
    place: str,
    *,
    margin: float,
    seed: int,
) -> list[Change]:
    # Named apart, because findings name the sides by their places.
    base, other = (
        replace(side[key, place], place=f"{place} in {name}") for side, name in zip(held, names, strict=True)
    )
    changes = []
    for made in compare_series(base, other, margin=margin, seed=seed):
        findings = [f for f in made.findings if f.rule not in _EXPECTED]
        runs = (len(made.base.records), len(made.other.records))
        own = conclude(made.verdict.judgements, findings, runs=runs, margin=margin)
        sides = [_comparison(one, key, place, made.metric) for one in studies]
        cost = _cost(sides, margin, steady_seed(seed, key, place, made.metric))
        changes.append(Change(key, place, made.metric, own, cost, findings))
    return changes


def _comparison(one: Study, key: Key, place: str, metric: str) -> Comparison | None:
    return next(
        (c for c in one.comparisons if (replace(c.key, campaign=""), c.other.place, c.metric) == (key, place, metric)),
        None,
    )


def _cost(sides: Sequence[Comparison | None], margin: float, seed: int) -> Verdict | None:
    first, second = sides
    if first is None or second is None:
        return None
    findings = [f for side in (first, second) for f in side.findings if f.level == "refuse"]
    runs = min(len(v) for side in (first, second) for v in (side.base_values, side.other_values))
    sizes = [size for size in first.sizes if size in second.sizes]
    judgements: list[Judgement] = []
    if sizes and runs >= MIN_RUNS:
        picked = []
        for side in (first, second):
            columns = [list(side.sizes).index(size) for size in sizes]
            picked.append((side.base_values[:, columns], side.other_values[:, columns], side.paired))
        intervals = ratio_of_ratios(picked[0], picked[1], seed=seed)
        judgements = [
            judge(found, better=first.better, n=runs, margin=margin, size=size)
            for size, found in zip(sizes, intervals, strict=True)
        ]
    return conclude(judgements, findings, runs=(runs, runs), margin=margin)
