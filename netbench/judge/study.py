"""From records to comparisons: which runs belong together, their ratios, what the rules say, and the verdicts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from netbench.judge.fairness import Finding, Side, check
from netbench.judge.stats import MARGIN, MIN_RUNS, Values, ratio_intervals
from netbench.judge.verdict import Verdict, conclude, judge
from netbench.records.record import Record, Sample
from usernetes_deploy.errors import UsageError

FAMILIES = ("osu", "tcp", "lammps", "pods", "noise")
USUAL_CASES = ("_latency", "_bw", "_bibw", "_mbw_mr", "_allreduce", "_alltoall", "_bcast", "_barrier")
USUAL_ORDER = (
    "bare-metal",
    "bare-metal-beside",
    "bare-metal-with-usernetes",
    "container",
    "container-with-usernetes",
    "pod-native",
    "pod-mesh",
    "pod-flannel",
    "mpijob-native",
    "mpijob-mesh",
    "usernetes",
)


@dataclass(frozen=True, order=True)
class Key:
    """What two runs must share to be put side by side."""

    campaign: str
    name: str
    label: str
    parameters: tuple[tuple[str, str], ...]
    node_count: int
    ranks: int
    # The parameters (and the campaign) that tell it apart from the other keys of a study.
    shown: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, record: Record) -> Key:
        """The key of a record."""
        parameters = tuple(sorted(record.case.parameters.items()))
        return cls(record.campaign, record.case.name, record.case.label, parameters, record.node_count, record.ranks)

    def title(self) -> str:
        """For example ``osu_latency x=2 (OSU), 2 nodes, 2 ranks``."""
        settings = "".join(f" {name}={value}" for name, value in self.shown)
        label = f" ({self.label})" if self.label and self.label.lower() not in self.name else ""
        return f"{self.name}{settings}{label}, {_count(self.node_count, 'node')}, {_count(self.ranks, 'rank')}"


@dataclass(frozen=True)
class Series:
    """All runs of one benchmark at one place; warm-up runs are left out, failed runs kept apart."""

    key: Key
    place: str
    records: Sequence[Record]
    failed: Sequence[Record]

    def metrics(self) -> list[Sample]:
        """One sample of each metric, in the order of the records (its size and value say nothing)."""
        found: dict[str, Sample] = {}
        for record in self.records:
            for sample in record.samples:
                found.setdefault(sample.metric, sample)
        return list(found.values())

    def table(self, metric: str, records: Sequence[Record] | None = None) -> tuple[list[int | None], Values]:
        """The sizes that every run has, and ``values[run, size]``."""
        rows = [
            {s.size: s.value for s in r.samples if s.metric == metric}
            for r in (self.records if records is None else records)
        ]
        common = set.intersection(*map(set, rows)) if rows else set()
        sizes = sorted(common, key=lambda size: -1 if size is None else size)
        return sizes, np.array([[row[size] for size in sizes] for row in rows], dtype=np.float64)


@dataclass(frozen=True)
class Comparison:
    """One metric of one benchmark at two places."""

    key: Key
    metric: str
    unit: str
    better: str
    base: Series
    other: Series
    paired: bool
    sizes: Sequence[int | None]
    base_values: Values
    other_values: Values
    findings: Sequence[Finding]
    verdict: Verdict


@dataclass(frozen=True)
class Study:
    """Everything a report shows."""

    series: Sequence[Series]
    comparisons: Sequence[Comparison]
    baseline: str
    margin: float
    seed: int
    without_baseline: Sequence[str]

    def places(self) -> list[str]:
        """All places, the baseline first, then in the usual order."""
        return sorted({s.place for s in self.series}, key=lambda place: _place_order(place, self.baseline))


def study(records: Iterable[Record], *, baseline: str = "", margin: float = MARGIN, seed: int = 1) -> Study:
    """Group `records` and compare every place with `baseline` (default: bare-metal, or what comes nearest to it).

    Raises `UsageError` when there is no run at the baseline that was asked for.
    """
    series = group(records)
    places = {s.place for s in series}
    if not places:
        raise UsageError("no runs but warm-ups: nothing can be compared")
    baseline = baseline or min(places, key=lambda place: _place_order(place, ""))
    if baseline not in places:
        raise UsageError(f"no runs at the baseline {baseline!r}; places: {', '.join(sorted(places))}")
    if not 0 < margin < 1:
        raise UsageError(f"the margin must be between 0 and 1, got {margin}")
    by_key: dict[Key, dict[str, Series]] = {}
    for one in series:
        by_key.setdefault(one.key, {})[one.place] = one
    comparisons, without = [], []
    for key, held in by_key.items():
        if baseline not in held:
            without.append(f"{key.title()}: no run at {baseline}, only at {', '.join(sorted(held))}")
            continue
        for place in sorted(held, key=lambda p: _place_order(p, baseline)):
            if place != baseline:
                comparisons += compare_series(held[baseline], held[place], margin=margin, seed=seed)
    return Study(series, comparisons, baseline, margin, seed, without)


def group(records: Iterable[Record]) -> list[Series]:
    """Series of runs, each in the order of time (as far as it is known)."""
    held: dict[tuple[Key, str], list[Record]] = {}
    nameless: list[Record] = []
    for record in records:
        if record.warmup:
            continue
        if record.sanity.ok or record.case.label:
            held.setdefault((Key.of(record), record.place), []).append(record)
        else:
            nameless.append(record)
    for record in nameless:
        held.setdefault((_key_of_failed(record, held), record.place), []).append(record)
    telling = _telling_parameters({key for key, _ in held})
    return [
        Series(
            replace(key, shown=_shown(key, telling[_bare(key)], {other for other, _ in held})),
            place,
            sorted((r for r in members if r.sanity.ok), key=_when),
            sorted((r for r in members if not r.sanity.ok), key=_when),
        )
        for (key, place), members in sorted(held.items(), key=lambda item: (_usual_order(item[1][0]), item[0]))
    ]


def compare_series(base: Series, other: Series, *, margin: float = MARGIN, seed: int = 1) -> list[Comparison]:
    """One comparison for each metric that is judged and that either side measured."""
    metrics = {s.metric: s for one in (base, other) for s in one.metrics() if s.better != "none"}
    if not metrics:
        return []
    return [_compare(base, other, sample, margin, seed) for sample in metrics.values()]


def blocks(base: Series, other: Series) -> tuple[list[Record], list[Record]] | None:
    """The runs of both places block by block, where the places took turns; None where they did not."""
    runs = [{r.repeat: r for r in side.records} for side in (base, other)]
    unique = all(len(held) == len(side.records) for held, side in zip(runs, (base, other), strict=True))
    if not unique or not all(r.interleaved for side in (base, other) for r in side.records):
        return None
    common = sorted(set(runs[0]) & set(runs[1]))
    return [runs[0][i] for i in common], [runs[1][i] for i in common]


def steady_seed(seed: int, *names: object) -> int:
    """A seed for one comparison that does not depend on which others are made."""
    return zlib.crc32(repr((seed, *names)).encode())


def _compare(base: Series, other: Series, sample: Sample, margin: float, seed: int) -> Comparison:
    paired = blocks(base, other)
    base_runs, other_runs = paired or (list(base.records), list(other.records))
    base_sizes, base_values = base.table(sample.metric, base_runs)
    other_sizes, other_values = other.table(sample.metric, other_runs)
    sizes = [size for size in base_sizes if size in other_sizes]
    base_values = base_values[:, [base_sizes.index(size) for size in sizes]] if sizes else np.empty((0, 0))
    other_values = other_values[:, [other_sizes.index(size) for size in sizes]] if sizes else np.empty((0, 0))
    positive: list[bool] = [
        bool((base_values[:, i] > 0).all() and (other_values[:, i] > 0).all()) for i in range(len(sizes))
    ]
    missing = {s.size for r in (*base_runs, *other_runs) for s in r.samples if s.metric == sample.metric} - {
        size for size, usable in zip(sizes, positive, strict=True) if usable
    }
    sizes = [size for size, usable in zip(sizes, positive, strict=True) if usable]
    base_values, other_values = base_values[:, positive], other_values[:, positive]
    own_seed = steady_seed(seed, base.key, base.place, other.place, sample.metric)
    findings = check(_side(base, base_runs, base_values), _side(other, other_runs, other_values), margin, own_seed)
    if missing:
        sizes_out = "1 size is" if len(missing) == 1 else f"{len(missing)} sizes are"
        text = f"{sizes_out} left out: not in all runs, or with a value that is not positive"
        findings.append(Finding("sizes", "flag", text))
    dropped = len(base.records) + len(other.records) - len(base_runs) - len(other_runs)
    if dropped:
        findings.append(Finding("blocks", "flag", f"{_count(dropped, 'run')} without a partner in the same block"))
    runs = (len(base_runs), len(other_runs))
    judgements = []
    if sizes and min(runs) >= MIN_RUNS:
        intervals = ratio_intervals(base_values, other_values, paired=paired is not None, seed=own_seed)
        judgements = [
            judge(found, better=sample.better, n=min(runs), margin=margin, size=size)
            for size, found in zip(sizes, intervals, strict=True)
        ]
    return Comparison(
        key=base.key,
        metric=sample.metric,
        unit=sample.unit,
        better=sample.better,
        base=base,
        other=other,
        paired=paired is not None,
        sizes=sizes,
        base_values=base_values,
        other_values=other_values,
        findings=findings,
        verdict=conclude(judgements, findings, runs=runs, margin=margin),
    )


def _side(series: Series, records: Sequence[Record], values: Values) -> Side:
    """Rows in the order of time: drift is looked for in it."""
    order = sorted(range(len(records)), key=lambda i: _when(records[i]))
    return Side(series.place, [records[i] for i in order], values[order] if values.size else values, series.failed)


def _shown(key: Key, telling: set[str], keys: set[Key]) -> tuple[tuple[str, str], ...]:
    """What a title says beside name, label, nodes and ranks."""
    elsewhere = any(k != key and replace(k, campaign=key.campaign) == key for k in keys)
    campaign = (("campaign", key.campaign),) if elsewhere else ()
    return (*(p for p in key.parameters if p[0] in telling), *campaign)


def _bare(key: Key) -> Key:
    return replace(key, parameters=())


def _telling_parameters(keys: Iterable[Key]) -> dict[Key, set[str]]:
    """For keys that differ in nothing else: the names of the parameters that do differ."""
    alike: dict[Key, list[Key]] = {}
    for key in keys:
        alike.setdefault(_bare(key), []).append(key)
    return {
        bare: {name for key in members for name, _ in set(key.parameters) - set(members[0].parameters)}
        | {name for key in members for name, _ in set(members[0].parameters) - set(key.parameters)}
        for bare, members in alike.items()
    }


def _key_of_failed(record: Record, held: Iterable[tuple[Key, str]]) -> Key:
    """A run that failed before it said what it is belongs to the runs that did say it."""
    own = Key.of(record)
    return next((key for key, _ in held if replace(key, label="") == own), own)


def _usual_order(record: Record) -> tuple[int, int]:
    """Families, and within OSU the benchmarks, in the order that readers expect."""
    family = FAMILIES.index(record.case.family) if record.case.family in FAMILIES else len(FAMILIES)
    position = next((i for i, name in enumerate(USUAL_CASES) if record.case.name.endswith(name)), len(USUAL_CASES))
    return family, position


def _when(record: Record) -> tuple[int, str, int, str]:
    return (record.order if record.order is not None else 0, record.start or "", record.repeat, record.id)


def _place_order(place: str, baseline: str) -> tuple[int, str]:
    usual = (baseline, *USUAL_ORDER)
    return (usual.index(place) if place in usual else len(usual), place)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
