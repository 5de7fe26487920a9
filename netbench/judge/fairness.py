"""Whether two places may be compared at all: each rule looks at both sides' records and speaks, or keeps silent.

A finding of level ``refuse`` forbids a verdict, ``flag`` is shown beside it, ``unknown`` says that a rule could not
look because the condition was not recorded.
"""

# ruff: noqa: ARG001 - all rules have one signature

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from netbench.judge.readings import (
    cpu_count,
    cpu_limit,
    limit_in_words,
    median_bytes,
    median_of,
    short,
    some,
    throttled_periods,
)
from netbench.judge.stats import MARGIN, MIN_RUNS, Values, drift, summarise
from netbench.records.record import Record

Level = Literal["refuse", "flag", "unknown"]
FEW_RUNS = 10
CPU_USE_POINTS = 10.0
TRAFFIC_FACTOR = 4.0
FIXED_WORK = ("osu", "lammps")
BUSY_SHARE = 0.25  # of a node's CPUs
DRIFT_P = 0.01
MIN_RUNS_FOR_DRIFT = 9


@dataclass(frozen=True)
class Side:
    """One place's runs of one benchmark: sane ones in order of time, with their ``values[run, size]``; failed ones."""

    place: str
    records: Sequence[Record]
    values: Values
    failed: Sequence[Record] = ()


@dataclass(frozen=True)
class Finding:
    """What a rule has to say."""

    rule: str
    level: Level
    text: str


def check(base: Side, other: Side, margin: float = MARGIN, seed: int = 1) -> list[Finding]:
    """All findings on a comparison, the gravest first."""
    found = [finding for rule in RULES for finding in rule(base, other, margin, seed)]
    return sorted(found, key=lambda f: ("refuse", "flag", "unknown").index(f.level))


def refused(findings: Iterable[Finding]) -> bool:
    """True when the sides must not be compared."""
    return any(finding.level == "refuse" for finding in findings)


def same_campaign(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Runs of two campaigns (another day, other nodes, other settings) say nothing about the place."""
    campaigns = sorted({r.campaign for r in (*base.records, *other.records)})
    if len(campaigns) > 1:
        yield Finding("campaign", "refuse", f"runs of different campaigns: {', '.join(campaigns)}")
    counts = sorted({(r.node_count, r.ranks) for r in (*base.records, *other.records)})
    if len(counts) > 1:
        shown = ", ".join(f"{nodes} nodes / {ranks} ranks" for nodes, ranks in counts)
        yield Finding("campaign", "refuse", f"different numbers of nodes or ranks: {shown}")


def same_nodes(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Placement alone moves a latency by tens of percent: the same nodes in the same order, or no conclusion."""
    orders = [Counter(tuple(n.name for n in r.nodes) for r in side.records) for side in (base, other)]
    if () in orders[0] or () in orders[1]:
        yield Finding("nodes", "unknown", "nodes")
        return
    sets = [Counter(frozenset(names) for names in order.elements()) for order in orders]
    if set(sets[0]) != set(sets[1]):
        shown = "; ".join(
            f"{side.place}: {', '.join(sorted({n for names in order for n in names}))}"
            for side, order in zip((base, other), orders, strict=True)
        )
        yield Finding("nodes", "refuse", f"other nodes ({shown})")
    elif set(orders[0]) != set(orders[1]):
        yield Finding("nodes", "flag", "the same nodes in another order")


def same_affinity(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Every rank is allowed the same CPUs."""
    sides = [{tuple((rank.rank, rank.cpus) for rank in r.affinity) for r in side.records} for side in (base, other)]
    if any(() in side for side in sides):
        yield Finding("affinity", "unknown", "affinity of the ranks")
        return
    if sides[0] == sides[1]:
        return
    widths = [{tuple(cpu_count(cpus) for _, cpus in ranks) for ranks in side} for side in sides]
    one, two = (sorted(side)[0] for side in sides)
    rank, first, second = next(((r, a, b) for (r, a), (_, b) in zip(one, two, strict=False) if a != b), (0, "?", "?"))
    shown = f"rank {rank} may use CPUs {first} at {base.place}, {second} at {other.place}"
    if widths[0] != widths[1]:
        yield Finding("affinity", "refuse", f"ranks are bound to a different number of CPUs: {shown}")
    else:
        yield Finding("affinity", "flag", f"ranks are bound to other CPUs: {shown}")


def same_cpu_limit(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """A CPU limit or throttling in one place measures the limit, not the place."""
    limits = [{cpu_limit(r) for r in side.records} for side in (base, other)]
    shown = [", ".join(sorted(map(limit_in_words, side))) for side in limits]
    known = ["not recorded" not in side for side in limits]
    limited = [any(not isinstance(limit, str) for limit in side) for side in limits]
    if any(limited) and limits[0] != limits[1]:
        yield Finding("cpu limit", "refuse", f"CPU limit: {base.place} {shown[0]}, {other.place} {shown[1]}")
    elif not all(known):
        yield Finding("cpu limit", "unknown", "CPU limits")
    throttled = [sum(throttled_periods(r) for r in side.records) for side in (base, other)]
    if any(throttled):
        level: Level = "flag" if all(throttled) else "refuse"
        yield Finding(
            "throttling",
            level,
            f"CPU throttling: {throttled[0]} periods at {base.place}, {throttled[1]} at {other.place}",
        )
    use = [median_of(side.records, "cpu_use") for side in (base, other)]
    if use[0] is not None and use[1] is not None and abs(use[0] - use[1]) >= CPU_USE_POINTS:
        text = f"the application got {use[0]:.0f} % CPU at {base.place}, {use[1]:.0f} % at {other.place}"
        yield Finding("cpu use", "refuse", f"{text}: a CPU limit, or more ranks than CPUs")


def same_launcher(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """The ranks were started in the same way, or the difference may be that of the launchers."""
    kinds = [{r.launcher for r in side.records} for side in (base, other)]
    if kinds[0] == kinds[1]:
        return
    if None in kinds[0] | kinds[1]:
        yield Finding("launcher", "unknown", "what started the ranks")
    else:
        one, two = (", ".join(sorted(map(str, side))) for side in kinds)
        yield Finding("launcher", "flag", f"the ranks were started by {one} at {base.place}, by {two} at {other.place}")


def same_transport(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Shared memory on one side and TCP on the other is no comparison of networks."""
    kinds = [{r.transport for r in side.records} for side in (base, other)]
    known = [{kind for kind in side if kind} for side in kinds]
    if (known[0] or known[1]) and known[0] != known[1] and all(known):
        text = "; ".join(f"{s.place}: {', '.join(sorted(k))}" for s, k in zip((base, other), known, strict=True))
        yield Finding("transport", "refuse", f"other transport ({text})")
    elif any(None in side for side in kinds):
        yield Finding("transport", "unknown", "transport")
        yield from _same_bytes(base, other)


def _same_bytes(base: Side, other: Side) -> Iterator[Finding]:
    """Where no one saw the transport, the interfaces' counters give shared memory away.

    Only for fixed work: what a stream of 10 s moves depends on the speed that is measured.
    """
    moved = [median_bytes(side.records) for side in (base, other)]
    if moved[0] is None or moved[1] is None or base.records[0].case.family not in FIXED_WORK:
        return
    small, large = min(moved[0], moved[1]), max(moved[0], moved[1])
    # Below a few MB the counters mostly hold what other programs sent.
    if large > 8e6 and large > TRAFFIC_FACTOR * small:
        text = f"{moved[0] / 1e6:.1f} MB a run at {base.place}, {moved[1] / 1e6:.1f} MB at {other.place}"
        yield Finding("transport", "refuse", f"the network interfaces carried {text}: not the same path")


def same_binaries(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """The same bytes ran, of the same version."""
    yield from _same_hashes("binary", "binaries", base, other)
    versions = [{r.case.tool_version for r in side.records} for side in (base, other)]
    if versions[0] != versions[1]:
        one, two = (", ".join(sorted(str(v) for v in side)) for side in versions)
        yield Finding("binary", "refuse", f"other version of the tool: {one} at {base.place}, {two} at {other.place}")


def same_inputs(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """The same input files were read. Benchmarks without inputs have nothing to record."""
    if any(r.inputs for r in (*base.records, *other.records)):
        yield from _same_hashes("input", "inputs", base, other)


def same_units(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """A metric has one unit and one good direction, or its values have no ratio."""
    seen: dict[str, set[str]] = {}
    for sample in (s for r in (*base.records, *other.records) for s in r.samples if s.better != "none"):
        seen.setdefault(sample.metric, set()).add(f"{sample.unit}, {sample.better} is better")
    for metric, units in seen.items():
        if len(units) > 1:
            yield Finding("unit", "refuse", f"{metric} has several units: {' / '.join(sorted(units))}")


def same_machine_state(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Kernel and frequency governor of the nodes, and what else kept them busy before the runs.

    That is not asked of the load average: it remembers the campaign's own runs.
    """
    for what, attribute in (("kernel", "kernel"), ("frequency governor", "governor")):
        seen = [{getattr(n, attribute) for r in side.records for n in r.nodes} - {None} for side in (base, other)]
        if all(seen) and seen[0] != seen[1]:
            one, two = (", ".join(sorted(map(str, side))) for side in seen)
            yield Finding("machine", "flag", f"other {what}: {one} at {base.place}, {two} at {other.place}")
    for side in (base, other):
        busy = [
            (n.name, n.busy_before, n.cpus)
            for r in side.records
            for n in r.nodes
            if n.busy_before is not None and n.cpus and n.busy_before > BUSY_SHARE * n.cpus
        ]
        if busy:
            name, most, cpus = max(busy, key=lambda b: b[1])
            text = f"{name} was busy before a run ({most:.1f} of {cpus} CPUs; {len(busy)} such cases)"
            yield Finding("machine", "flag", f"{side.place}: {text}")


def no_drift(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """A machine that gets slower or faster while it is measured: the first third of the runs against the last."""
    for side in (base, other):
        if len(side.values) < MIN_RUNS_FOR_DRIFT or not side.values.size:
            continue
        ratio, p = drift(side.values, seed)
        if abs(ratio - 1) > margin and p < DRIFT_P:
            paired = all(r.interleaved for r in (*base.records, *other.records))
            text = f"{side.place} drifted: the last third of its runs is x{ratio:.2f} of the first"
            yield Finding("drift", "flag" if paired else "refuse", text)


def enough_runs(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Below 6 runs no interval of a median holds 95 %; below 10 it is wide and shaky."""
    fewest = min(len(base.records), len(other.records))
    runs = "1 run" if len(base.records) == 1 else f"{len(base.records)} runs"
    shown = f"{runs} at {base.place}, {len(other.records)} at {other.place}"
    if fewest < MIN_RUNS:
        yield Finding("too few runs", "refuse", f"{shown}: at least {MIN_RUNS} each are needed")
    elif fewest < FEW_RUNS:
        yield Finding("too few runs", "flag", f"{shown}: {FEW_RUNS} and more are better")


def all_runs_sound(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Runs that failed are missing from the figures: that must be seen, for the survivors may be the lucky ones."""
    for side in (base, other):
        if side.failed:
            total = len(side.failed) + len(side.records)
            text = f"{side.place}: {len(side.failed)} of {total} runs failed and are missing"
            yield Finding("failed runs", "flag", f"{text} ({side.failed[0].sanity.reason})")


def were_interleaved(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Places measured one after the other differ by the hour as well."""
    if not all(r.interleaved for r in (*base.records, *other.records)):
        yield Finding(
            "interleaving", "flag", "the places did not take turns: a change over time looks like one of place"
        )


def outliers_do_not_decide(base: Side, other: Side, margin: float, seed: int) -> Iterator[Finding]:
    """Medians are judged; where a mean would say something else, a few runs are to blame, and they are named."""
    if not base.values.size or not other.values.size:
        return
    worst: tuple[float, str] | None = None
    for column in range(base.values.shape[1]):
        one, two = summarise(base.values[:, column]), summarise(other.values[:, column])
        if not (one.outliers or two.outliers) or one.median <= 0 or one.mean <= 0:
            continue
        by_median, by_mean = two.median / one.median, two.mean / one.mean
        off = abs(by_mean / by_median - 1)
        if off > margin and (worst is None or off > worst[0]):
            named = [
                f"{side.place} run {side.records[i].repeat}"
                for side, summary in ((base, one), (other, two))
                for i in summary.outliers
            ]
            worst = (off, f"means would say x{by_mean:.2f}, medians say x{by_median:.2f} (outliers: {some(named)})")
    if worst:
        yield Finding("outliers", "flag", worst[1])


RULES: tuple[Callable[[Side, Side, float, int], Iterator[Finding]], ...] = (
    same_campaign,
    same_nodes,
    same_affinity,
    same_cpu_limit,
    same_launcher,
    same_transport,
    same_binaries,
    same_inputs,
    same_units,
    same_machine_state,
    no_drift,
    enough_runs,
    all_runs_sound,
    were_interleaved,
    outliers_do_not_decide,
)


def _same_hashes(rule: str, what: str, base: Side, other: Side) -> Iterator[Finding]:
    sides: list[set[tuple[tuple[str, str], ...]]] = []
    for side in (base, other):
        held: Iterable[Mapping[str, str]] = (getattr(r, what) for r in side.records)
        sides.append({tuple(sorted(hashes.items())) for hashes in held})
    if any(() in side for side in sides):
        yield Finding(rule, "unknown", what)
    elif sides[0] != sides[1]:
        one, two = (dict(sorted(side)[0]) for side in sides)
        name = next((n for n in sorted({*one, *two}) if one.get(n) != two.get(n)), None)
        shown = (
            f"{name} {short(one.get(name))} at {base.place}, {short(two.get(name))} at {other.place}"
            if name
            else f"they changed within {base.place if len(sides[0]) > 1 else other.place}"
        )
        yield Finding(rule, "refuse", f"other {rule}: {shown}")
