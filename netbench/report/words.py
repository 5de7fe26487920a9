"""The sentences of a report: what a place is, what was found at it, and which conditions its runs had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netbench.judge.fairness import Finding
from netbench.judge.study import Comparison, Study
from netbench.judge.verdict import Overall
from netbench.records.record import Record

PLACES = {
    "bare-metal": "the application on the hosts, no cluster",
    "bare-metal-beside": "the application on the hosts, an idle cluster beside it",
    "bare-metal-with-usernetes": "the application on the hosts, an idle Usernetes beside it",
    "container": "the application in a container, no cluster",
    "container-with-usernetes": "the application in a container, an idle Usernetes beside it",
    "pod-native": "pods on the hosts' own network",
    "pod-mesh": "pods on the encrypted mesh",
    "pod-flannel": "pods on flannel's network (Usernetes' way)",
    "mpijob-native": "pods on the hosts' own network, started by an MPIJob",
    "mpijob-mesh": "pods on the encrypted mesh, started by an MPIJob",
    "usernetes": "pods of Usernetes",
}
METRICS = {
    "bandwidth": "bandwidth",
    "latency": "latency",
    "loop_time": "loop time",
    "message_rate": "message rate",
    "quantum": "time of a fixed piece of work",
    "start_latency": "time until a pod runs",
    "throughput": "throughput",
}
NOT_RECORDED = "not recorded"
BADGES: dict[Overall, str] = {
    "same": "same",
    "slower": "slower",
    "faster": "faster",
    "mixed": "mixed",
    "undecided": "not decided",
    "refused": "not comparable",
}


@dataclass(frozen=True)
class Flag:
    """One finding, and the comparisons that it was made in; `everywhere` when that is all of them."""

    finding: Finding
    comparisons: Sequence[str]
    everywhere: bool


def metric_in_words(metric: str) -> str:
    """A metric's name as people say it."""
    return METRICS.get(metric, metric.replace("_", " "))


def title(comparison: Comparison) -> str:
    """For example ``osu_latency (OSU), 2 nodes, 2 ranks``; the metric is added where the benchmark has several."""
    several = {s.metric for s in comparison.base.metrics() if s.better != "none"} - {comparison.metric}
    return comparison.key.title() + (f": {metric_in_words(comparison.metric)}" if several else "")


def place_sentence(study: Study, place: str) -> str:
    """What was found at `place`, in one or two sentences."""
    made = [c for c in study.comparisons if c.other.place == place]
    if not made:
        return f"No run at {place} can be put beside one at {study.baseline}."
    counts = {kind: [c for c in made if c.verdict.overall == kind] for kind in BADGES}
    only = len(made) == 1
    unanimous: tuple[tuple[Overall, str], ...] = (
        ("same", f"as fast as {study.baseline} within {study.margin * 100:g} %"),
        ("slower", f"slower than {study.baseline}"),
        ("faster", f"faster than {study.baseline}"),
    )
    for kind, words in unanimous:
        if len(counts[kind]) == len(made):
            return (
                f"{words[0].upper()}{words[1:]} in {'the one comparison' if only else f'all {len(made)} comparisons'}."
            )
    single: tuple[tuple[Overall, str], ...] = (
        ("slower", "slower"),
        ("faster", "faster"),
        ("same", f"the same within {study.margin * 100:g} %"),
        ("mixed", "mixed (a difference at some message sizes only)"),
        ("undecided", "not decided"),
        ("refused", "not comparable"),
    )
    if only:
        return f"The one comparison with {study.baseline}: {next(words for kind, words in single if counts[kind])}."
    parts = [f"{len(counts[kind])} {words}" for kind, words in single if counts[kind]]
    return f"Of {len(made)} comparisons with {study.baseline}: {', '.join(parts)}."


def lead(study: Study) -> list[str]:
    """The first sentences of the report: which places cost nothing, which cost something, and what cannot be said."""
    made = study.comparisons
    if not made:
        return [f"Nothing can be compared: no benchmark was run at {study.baseline} and at another place."]
    sentences = []
    same, slower = _tally(study, "same"), _tally(study, "slower")
    if same:
        sentences.append(f"Shown to be as fast as {study.baseline} within {study.margin * 100:g} %: {same}.")
    if slower:
        sentences.append(f"Slower than {study.baseline}: {slower}.")
    if faster := _tally(study, "faster"):
        sentences.append(f"Faster than {study.baseline}: {faster}.")
    mixed = sum(c.verdict.overall == "mixed" for c in made)
    open_ = sum(c.verdict.overall == "undecided" for c in made)
    refused = sum(c.verdict.overall == "refused" for c in made)
    rest = [
        f"{mixed} {'differs' if mixed == 1 else 'differ'} at some message sizes only" if mixed else "",
        f"{open_} {'is' if open_ == 1 else 'are'} not decided by these runs" if open_ else "",
        f"{refused} {'is' if refused == 1 else 'are'} refused because the conditions differ" if refused else "",
    ]
    if any(rest):
        sentences.append(f"Of all {len(made)} comparisons, {', '.join(part for part in rest if part)}.")
    return sentences


def _tally(study: Study, outcome: Overall) -> str:
    """For example ``pod-native (in 5 of 6), pod-mesh (in 1 of 6)``; empty where there is no such place."""
    parts = []
    for place in study.places():
        made = [c for c in study.comparisons if c.other.place == place]
        count = sum(c.verdict.overall == outcome for c in made)
        if count:
            parts.append(
                (count / len(made), f"{place} (in {'all ' if count == len(made) else f'{count} of '}{len(made)})")
            )
    return ", ".join(text for _, text in sorted(parts, key=lambda part: -part[0]))


def flags(comparisons: Sequence[Comparison]) -> list[Flag]:
    """All findings but ``unknown`` ones, each once, with where it was made."""
    held: dict[Finding, list[str]] = {}
    for comparison in comparisons:
        for finding in comparison.findings:
            if finding.level != "unknown":
                held.setdefault(finding, []).append(f"{title(comparison)} at {comparison.other.place}")
    order = ("refuse", "flag")
    return [
        Flag(finding, where, len(where) == len(comparisons))
        for finding, where in sorted(held.items(), key=lambda item: (order.index(item[0].level), item[0].rule))
    ]


def not_recorded(comparison: Comparison) -> str:
    """The conditions that no rule could check, in one phrase; empty when all were recorded."""
    return ", ".join(finding.text for finding in comparison.findings if finding.level == "unknown")


def conditions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What the runs of a place had in common: (condition, value or values)."""
    nodes = [n for r in records for n in r.nodes]
    rows: list[tuple[str, str]] = [
        ("sane runs", str(len(records))),
        ("nodes", _distinct([", ".join(n.name for n in r.nodes) for r in records])),
        ("rack and switch", _distinct([n.topology or "" for n in nodes])),
        ("kernel", _distinct([n.kernel or "" for n in nodes])),
        ("CPUs a node", _distinct([str(n.cpus or "") for n in nodes])),
        ("frequency governor", _distinct([n.governor or "" for n in nodes])),
        ("load average before (worst)", _worst(n.load_before for n in nodes)),
        ("busy CPUs before (worst)", _worst(n.busy_before for n in nodes)),
        ("resting cluster, % of one core (median)", _median(n.idle_cost_percent for n in nodes)),
        ("CPUs of the ranks", _distinct([_affinity(r) for r in records])),
        ("CPU limit", _distinct([_limits(r) for r in records])),
        ("throttled periods", _distinct([_throttled(r) for r in records])),
        ("transport seen", _distinct([r.transport or "" for r in records])),
        ("busiest interfaces and their MTU", _merged(_busiest(r) for r in records)),
        ("MB a run on them (median)", _traffic(records)),
        ("tools", _merged({r.case.tool: r.case.tool_version or ""} for r in records if r.case.tool)),
        ("parameters", _merged({r.case.name: _settings(r)} for r in records if r.case.parameters)),
        ("binaries", _merged(_shortened(r.binaries) for r in records)),
        ("inputs", _merged(_shortened(r.inputs) for r in records)),
        ("versions", _merged(r.versions for r in records)),
        ("environment", _merged(r.env for r in records)),
        ("taking turns", _distinct(["yes" if r.interleaved else "no" for r in records])),
        ("seed of the order", _distinct(["" if r.seed is None else str(r.seed) for r in records])),
        ("from", min((r.start for r in records if r.start), default=NOT_RECORDED)),
        ("to", max((r.end for r in records if r.end), default=NOT_RECORDED)),
    ]
    return rows


def _distinct(values: Sequence[str], most: int = 4) -> str:
    """The values, each once, and in how many runs (or nodes) there was none."""
    seen = list(dict.fromkeys(value for value in values if value))
    if not seen:
        return NOT_RECORDED
    more = f" and {len(seen) - most} others" if len(seen) > most else ""
    missing = sum(not value for value in values)
    unknown = f" ({NOT_RECORDED} in {missing} of {len(values)})" if missing else ""
    return "; ".join(seen[:most]) + more + unknown


def _merged(pairs: Iterable[Mapping[str, str]]) -> str:
    """Names with all their values: ``osu_bw 1a2b3c4d5e6f, osu_latency 0f1e2d3c4b5a``."""
    held: dict[str, dict[str, None]] = {}
    for pair in pairs:
        for name, value in pair.items():
            held.setdefault(name, {})[value] = None
    return ", ".join(f"{name} {' or '.join(values)}".strip() for name, values in sorted(held.items())) or NOT_RECORDED


def _busiest(record: Record) -> dict[str, str]:
    """Interfaces that carried at least a tenth of what the busiest one of the run did."""
    moved = [(t.rx_after - t.rx_before + t.tx_after - t.tx_before, t) for t in record.traffic]
    most = max((carried for carried, _ in moved), default=0)
    return {t.interface: str(t.mtu) for carried, t in moved if carried * 10 >= most}


def _settings(record: Record) -> str:
    return " ".join(f"{name}={value}" for name, value in record.case.parameters.items())


def _shortened(hashes: Mapping[str, str]) -> dict[str, str]:
    return {name: _short(digest) for name, digest in hashes.items()}


def _aggregate(values: Iterable[float | None], how: Callable[[list[float]], float]) -> str:
    known = [value for value in values if value is not None]
    return f"{how(known):.2f}" if known else NOT_RECORDED


def _worst(values: Iterable[float | None]) -> str:
    return _aggregate(values, max)


def _median(values: Iterable[float | None]) -> str:
    return _aggregate(values, lambda known: float(np.median(known)))


def _affinity(record: Record) -> str:
    return ", ".join(dict.fromkeys(f"{rank.node}: {rank.cpus}" for rank in record.affinity))


def _limits(record: Record) -> str:
    if record.limits is None:
        return ""
    cores = dict.fromkeys("none" if x.cpu_cores is None else f"{x.cpu_cores:g} cores" for x in record.limits)
    return ", ".join(cores) or "none"


def _throttled(record: Record) -> str:
    counted = [x.after.throttled - x.before.throttled for x in record.limits or () if x.before and x.after]
    return str(sum(counted)) if counted else ""


def _traffic(records: Sequence[Record]) -> str:
    return _median(
        sum(t.rx_after - t.rx_before + t.tx_after - t.tx_before for t in r.traffic) / 1e6 if r.traffic else None
        for r in records
    )


def _short(digest: str) -> str:
    return digest.removeprefix("version:") if ":" in digest else digest[:12]


def markdown_line(text: str) -> str:
    """A line of Markdown whose names, which come from records, can neither be HTML nor end the line.

    >>> markdown_line("- **<script>** & more")
    '- **&lt;script>** &amp; more'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")
