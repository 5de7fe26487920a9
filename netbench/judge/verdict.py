"""Says in plain words what the intervals mean: same, slower by a-b %, faster, or not decided and how many runs more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netbench.judge.fairness import Finding
from netbench.judge.stats import MARGIN, MIN_RUNS, Interval, more_runs

Outcome = Literal["same", "slower", "faster", "undecided"]
Overall = Literal["same", "slower", "faster", "mixed", "undecided", "refused"]


@dataclass(frozen=True)
class Judgement:
    """One size: `more` is how many more runs would decide (None with ``undecided``: too many to be worth it)."""

    size: int | None
    interval: Interval
    outcome: Outcome
    more: int | None = None


@dataclass(frozen=True)
class Verdict:
    """One benchmark at one pair of places. ``mixed``: slower or faster at some sizes only."""

    overall: Overall
    text: str
    judgements: Sequence[Judgement] = ()


def judge(interval: Interval, *, better: str, n: int, margin: float = MARGIN, size: int | None = None) -> Judgement:
    """What one interval means.

    Inside the margin: same (that is equivalence shown, not a difference missed). Outside 1: slower or faster. Else it
    is not decided.

    >>> judge(Interval(1.08, 1.04, 1.12), better="lower", n=20).outcome
    'slower'
    >>> judge(Interval(1.0, 0.99, 1.01), better="lower", n=20).outcome
    'same'
    """
    if interval.low >= 1 - margin and interval.high <= 1 + margin:
        return Judgement(size, interval, "same")
    if interval.low > 1 or interval.high < 1:
        worse = (interval.low > 1) == (better == "lower")
        return Judgement(size, interval, "slower" if worse else "faster")
    return Judgement(size, interval, "undecided", more_runs(interval, n, margin))


def conclude(
    judgements: Sequence[Judgement], findings: Sequence[Finding], *, runs: tuple[int, int], margin: float = MARGIN
) -> Verdict:
    """The verdict on all sizes of a benchmark. `runs`: how many at the base place and at the other."""
    reasons = [finding.text for finding in findings if finding.level == "refuse"]
    few = min(runs) < MIN_RUNS
    if few and len(reasons) <= 1:
        more = MIN_RUNS - min(runs)
        return Verdict("undecided", f"not decided: {more} more {_runs(more)} at least", judgements)
    if reasons:
        return Verdict("refused", "not comparable: " + "; ".join(reasons), judgements)
    if not judgements:
        return Verdict("undecided", "not decided: no size that all runs measured with a positive value", judgements)
    outcomes = {j.outcome for j in judgements}
    parts = [
        _part([j for j in judgements if j.outcome == outcome], judgements, margin)
        for outcome in ("slower", "faster", "same", "undecided")
        if outcome in outcomes
    ]
    overall: Overall = next(iter(outcomes)) if len(outcomes) == 1 else "mixed"
    if outcomes == {"same", "undecided"}:
        overall = "undecided"
    return Verdict(overall, "; ".join(parts), judgements)


def percent_range(low: float, high: float) -> str:
    """Two shares as percent, in as few digits as tell them apart.

    >>> percent_range(0.042, 0.118), percent_range(0.85, 1.9)
    ('4.2-12 %', '85-190 %')
    """
    shown = [_percent(low), _percent(high)]
    return f"{shown[0]} %" if shown[0] == shown[1] else f"{shown[0]}-{shown[1]} %"


def bytes_in_words(size: int) -> str:
    """A message size as people say it.

    >>> bytes_in_words(8), bytes_in_words(65536), bytes_in_words(4194304)
    ('8 B', '64 KiB', '4 MiB')
    """
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= step and size % step == 0:
            return f"{size // step} {unit}"
    return f"{size} B"


def sizes_in_words(chosen: Sequence[int], of: Sequence[int]) -> str:
    """Neighbouring sizes as ranges.

    >>> sizes_in_words([1, 2, 4, 1024], of=[1, 2, 4, 8, 1024])
    '1 B-4 B, 1 KiB'
    """
    ranges: list[list[int]] = []
    for position, size in enumerate(sorted(of)):
        if size not in chosen:
            continue
        before = sorted(of)[position - 1] if position else None
        if ranges and before is not None and ranges[-1][-1] == before:
            ranges[-1].append(size)
        else:
            ranges.append([size])
    return ", ".join(
        bytes_in_words(r[0]) if len(r) == 1 else f"{bytes_in_words(r[0])}-{bytes_in_words(r[-1])}" for r in ranges
    )


def _part(chosen: Sequence[Judgement], every: Sequence[Judgement], margin: float) -> str:
    """All sizes with one outcome, in words."""
    outcome = chosen[0].outcome
    if outcome == "same":
        text = f"same within {_percent(margin)} %"
    elif outcome == "undecided":
        needed = [j.more for j in chosen]
        most = max((more for more in needed if more is not None), default=0)
        text = (
            f"not decided: {most} more {_runs(most)}"
            if None not in needed
            else "not decided: more runs than are worth it, less noise is needed first"
        )
    else:
        ordered = sorted(chosen, key=lambda j: abs(j.interval.ratio - 1))
        first, last = ordered[0], ordered[-1]
        alike = _by(first, False) == _by(last, False)
        text = f"{outcome} by {_by(first, len(every) > 1 and (not alike or len(chosen) == 1))}"
        if not alike:
            text += f" up to {_by(last, True)}"
    if len(every) == 1:
        return text
    if len(chosen) == len(every):
        return f"{text} at all {len(every)} sizes"
    if len(chosen) == 1 and outcome in {"slower", "faster"}:
        return f"{text}, 1 of {len(every)} sizes"
    where = sizes_in_words([j.size or 0 for j in chosen], [j.size or 0 for j in every])
    return f"{text} at {len(chosen)} of {len(every)} sizes ({where})"


def _by(judgement: Judgement, name_size: bool) -> str:
    shares = sorted((abs(judgement.interval.low - 1), abs(judgement.interval.high - 1)))
    where = f" ({bytes_in_words(judgement.size or 0)})" if name_size else ""
    return percent_range(*shares) + where


def _percent(share: float) -> str:
    value = abs(share) * 100
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
