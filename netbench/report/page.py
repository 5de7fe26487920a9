"""What the page shows, in order: verdict, benchmarks with plots and figures, conditions and flags, how to repeat."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from netbench.judge.stats import LEVEL, RESAMPLES
from netbench.judge.study import Comparison, Key, Series, Study
from netbench.judge.verdict import bytes_in_words
from netbench.records.record import Record, RecordError
from netbench.report import plots, words
from usernetes_deploy import __version__

_HERE = Path(__file__).parent


def render(study: Study, unreadable: Sequence[RecordError], repeat: Sequence[str], title: str) -> str:
    """The whole page as one self-contained HTML text."""
    return environment().get_template("page.html.j2").render(page=context(study, unreadable, repeat, title))


def environment() -> Environment:
    """Templates of this folder; a name that is not there is an error, and all text is escaped."""
    loader = FileSystemLoader(_HERE)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def style() -> str:
    """The style sheet of all pages."""
    return (_HERE / "style.css").read_text(encoding="utf-8")


def context(study: Study, unreadable: Sequence[RecordError], repeat: Sequence[str], title: str) -> dict[str, Any]:
    """Everything the template uses."""
    places = study.places()
    look = plots.Look(places)
    compared = [place for place in places if place != study.baseline]
    groups = by_benchmark(study.comparisons)
    records = [r for s in study.series for r in (*s.records, *s.failed)]
    judged = sum(1 for c in study.comparisons if c.verdict.judgements)
    return {
        "title": title,
        "subtitle": subtitle(study, records),
        "style": Markup(style()),  # noqa: S704 - our own file
        "lead": words.lead(study),
        "places": [_place(study, place, i) for i, place in enumerate(places)],
        "alerts": alerts(study),
        "baseline": study.baseline,
        "compared": compared,
        "matrix": [_matrix_row(made, compared) for made in groups],
        "blocks": _blocks(study, groups, look) + _loose(study, look),
        "unknown": unknown(study),
        "flags": [
            {"level": f.finding.level, "rule": f.finding.rule, "text": f.finding.text, "where": where(f)}
            for f in words.flags(study.comparisons)
        ],
        "failed": [f"{r.id}: {r.sanity.reason}" for s in study.series for r in s.failed],
        "unreadable": [str(error) for error in unreadable],
        "loose": list(study.without_baseline),
        "conditions": _conditions(study, places),
        "margin": f"{study.margin * 100:g}",
        "level": f"{LEVEL * 100:g}",
        "resamples": RESAMPLES,
        "seed": study.seed,
        "families": judged,
        "expected_misses": f"{judged * (1 - LEVEL):.1f}",
        "repeat": list(repeat),
        "commands": _commands(study),
        "version": __version__,
        "records": len(records),
    }


def by_benchmark(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Comparisons of one benchmark and metric together."""
    held: dict[tuple[Key, str], list[Comparison]] = {}
    for comparison in comparisons:
        held.setdefault((comparison.key, comparison.metric), []).append(comparison)
    return list(held.values())


def subtitle(study: Study, records: Sequence[Record]) -> str:
    """Which campaigns, how many runs, when."""
    campaigns = ", ".join(sorted({s.key.campaign for s in study.series}))
    dates = sorted(r.start[:10] for r in records if r.start)
    when = "" if not dates else f", {dates[0]}" + (f" to {dates[-1]}" if dates[0] != dates[-1] else "")
    most = max((s.key.node_count for s in study.series), default=0)
    return f"{campaigns}{when}: {len(records)} runs on up to {most} nodes, compared with {study.baseline}."


def alerts(study: Study) -> list[str]:
    """What a reader must know before any figure: why comparisons were refused, and failed runs."""
    found = []
    reasons: dict[str, dict[str, list[str]]] = {}
    for comparison in study.comparisons:
        for finding in comparison.findings:
            if finding.level == "refuse" and comparison.verdict.overall == "refused":
                places = reasons.setdefault(finding.rule, {}).setdefault(comparison.key.name, [])
                places += [comparison.other.place] if comparison.other.place not in places else []
    for rule, cases in reasons.items():
        where = "; ".join(f"{name} ({', '.join(places)})" for name, places in cases.items())
        found.append(f"Not comparable ({rule}): {where}.")
    failed = sum(len(s.failed) for s in study.series)
    if failed:
        runs = "1 run failed and has" if failed == 1 else f"{failed} runs failed and have"
        found.append(f"{runs} no figures; the reasons are listed under Conditions and flags.")
    return found


def unknown(study: Study) -> str:
    """One sentence for the conditions that no rule could check."""
    missing = sorted({text for c in study.comparisons for text in words.not_recorded(c).split(", ") if text})
    if not missing:
        return ""
    return f"Not recorded for at least one comparison, so not checked: {', '.join(missing)}."


def where(flag: words.Flag) -> str:
    """Where a finding was made, not longer than a line or two."""
    if flag.everywhere and len(flag.comparisons) > 1:
        return "in all comparisons"
    shown = "; ".join(flag.comparisons[:3])
    more = f"; and {len(flag.comparisons) - 3} more" if len(flag.comparisons) > 3 else ""
    return shown + more


def anchor(key: Key, metric: str) -> str:
    """The id of a benchmark's part of the page."""
    parts = (key.campaign, key.title(), metric)
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def figure(value: float) -> str:
    """A value in four digits.

    >>> figure(0.123456), figure(1234.5), figure(24211.33)
    ('0.1235', '1234', '24211')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _place(study: Study, place: str, position: int) -> dict[str, Any]:
    return {
        "name": place,
        "what": words.PLACES.get(place, ""),
        "sentence": "" if place == study.baseline else words.place_sentence(study, place),
        "colour": position % len(plots.MARKERS),
        "glyph": plots.GLYPHS[position % len(plots.GLYPHS)],
    }


def _matrix_row(made: Sequence[Comparison], compared: Sequence[str]) -> dict[str, Any]:
    by_place = {c.other.place: c for c in made}
    cells = []
    for place in compared:
        found = by_place.get(place)
        cells.append(
            {
                "place": place,
                "overall": found.verdict.overall if found else "",
                "badge": words.BADGES[found.verdict.overall] if found else "",
                "brief": brief(found) if found else "",
            }
        )
    return {"title": words.title(made[0]), "anchor": anchor(made[0].key, made[0].metric), "cells": cells}


def brief(comparison: Comparison) -> str:
    """The verdict in a few words: the ratio, or the span of ratios over all sizes."""
    ratios = [j.interval.ratio for j in comparison.verdict.judgements]
    if not ratios:
        return ""
    low, high = f"×{min(ratios):.2f}", f"×{max(ratios):.2f}"
    span = low if low == high else f"{low} to {high}"
    outcomes: list[str] = [j.outcome for j in comparison.verdict.judgements]
    named = (("slower", "slower"), ("faster", "faster"), ("same", "same"), ("undecided", "open"))
    if len(set(outcomes)) == 1 or comparison.verdict.overall == "refused":
        return span
    counted = [f"{outcomes.count(kind)} {word}" for kind, word in named if kind in outcomes]
    return f"{', '.join(counted)}; {span}"


def _block(study: Study, made: Sequence[Comparison], look: plots.Look) -> dict[str, Any]:
    first = made[0]
    series = [first.base, *(c.other for c in made)]
    sized = any(size is not None for c in made for size in c.sizes)
    figures = []
    if any(c.sizes for c in made):
        draw = plots.curves if sized else plots.runs
        figures = [draw(series, first.metric, first.unit, look, study.seed)]
    judged = [c for c in made if c.verdict.judgements]
    if judged:
        figures.append((plots.ratios if sized else plots.single_ratios)(judged, look, study.margin))
    return {
        "title": words.title(first),
        "anchor": anchor(first.key, first.metric),
        "figures": [Markup(svg) for svg in figures],  # noqa: S704 - drawn here; texts in it are escaped by matplotlib
        "lines": [_line(c) for c in made],
        "unit": first.unit,
        "sized": sized,
        "compared": [c.other.place for c in made],
        "rows": _rows(made),
    }


def _line(comparison: Comparison) -> dict[str, Any]:
    return {
        "place": comparison.other.place,
        "overall": comparison.verdict.overall,
        "badge": words.BADGES[comparison.verdict.overall],
        "text": comparison.verdict.text + ".",
        "flags": [
            {"level": f.level, "text": f.text}
            for f in comparison.findings
            if f.level == "flag" and f.rule != "interleaving"
        ],
    }


def _rows(made: Sequence[Comparison]) -> list[dict[str, Any]]:
    sizes = sorted({size for c in made for size in c.sizes}, key=lambda size: -1 if size is None else size)
    rows = []
    for size in sizes:
        cells, base = [], ""
        for comparison in made:
            if size not in comparison.sizes:
                cells.append({"median": "", "ratio": "", "outcome": ""})
                continue
            column = list(comparison.sizes).index(size)
            base = base or figure(_median(comparison.base_values, column))
            cells.append({"median": figure(_median(comparison.other_values, column)), **_ratio(comparison, column)})
        rows.append({"size": "" if size is None else bytes_in_words(size), "base": base, "cells": cells})
    return rows


def _ratio(comparison: Comparison, column: int) -> dict[str, str]:
    if not comparison.verdict.judgements:
        return {"ratio": "", "outcome": ""}
    judgement = comparison.verdict.judgements[column]
    found = judgement.interval
    outcome = "refused" if comparison.verdict.overall == "refused" else judgement.outcome
    return {"ratio": f"{found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}]", "outcome": outcome}


def _median(values: Any, column: int) -> float:
    return float(np.median(values[:, column]))


def _blocks(study: Study, groups: Sequence[Sequence[Comparison]], look: plots.Look) -> list[dict[str, Any]]:
    """A block for each benchmark; before the first of several numbers of nodes, one on how it scales."""
    scaled: dict[tuple[Any, ...], list[Comparison]] = {}
    for made in groups:
        if all(size is None for c in made for size in c.sizes):
            scaled.setdefault(_apart_from_nodes(made[0]), []).extend(c for c in made if c.sizes)
    blocks = []
    for made in groups:
        several = scaled.pop(_apart_from_nodes(made[0]), [])
        if len({c.key.node_count for c in several}) > 1:
            blocks.append(_scaling_block(study, several, look))
        blocks.append(_block(study, made, look))
    return blocks


def _apart_from_nodes(comparison: Comparison) -> tuple[Any, ...]:
    key = comparison.key
    return (key.campaign, key.name, key.label, key.parameters, comparison.metric)


def _scaling_block(study: Study, made: Sequence[Comparison], look: plots.Look) -> dict[str, Any]:
    by_place: dict[str, list[Series]] = {}
    for c in made:
        for one in (c.base, c.other):
            if one not in by_place.setdefault(one.place, []):
                by_place[one.place].append(one)
    ordered = {p: by_place[p] for p in study.places() if p in by_place}
    key, metric, unit = made[0].key, made[0].metric, made[0].unit
    figures = [
        plots.scaling(ordered, metric, unit, look, study.seed, ideal=metric == "loop_time"),
    ]
    if judged := [c for c in made if c.verdict.judgements]:
        figures.append(plots.scaling_ratios(judged, look, study.margin))
    return {
        "title": f"{key.name}: {words.metric_in_words(metric)} over the number of nodes",
        "anchor": re.sub(r"[^a-z0-9]+", "-", f"scaling {key.campaign} {key.name} {metric}".lower()),
        "figures": [Markup(svg) for svg in figures],  # noqa: S704 - drawn here
        "lines": [],
        "rows": [],
    }


def _loose(study: Study, look: plots.Look) -> list[dict[str, Any]]:
    """Benchmarks without a baseline, or measured at the baseline alone: shown, not judged."""
    compared = {(c.key, c.metric) for c in study.comparisons}
    held: dict[tuple[Key, str, str], list[Series]] = {}
    for one in study.series:
        for sample in one.metrics():
            if sample.better != "none" and (one.key, sample.metric) not in compared:
                held.setdefault((one.key, sample.metric, sample.unit), []).append(one)
    blocks = []
    for (key, metric, unit), series in held.items():
        sized = any(size is not None for one in series for size in one.table(metric)[0])
        drawn = (plots.curves if sized else plots.runs)(series, metric, unit, look, study.seed)
        blocks.append(
            {
                "title": f"{key.title()}: {words.metric_in_words(metric)}, not compared",
                "anchor": anchor(key, metric),
                "figures": [Markup(drawn)],  # noqa: S704 - drawn here
                "lines": [],
                "rows": [],
            }
        )
    return blocks


def _conditions(study: Study, places: Sequence[str]) -> list[dict[str, Any]]:
    tables = [words.conditions([r for s in study.series if s.place == place for r in s.records]) for place in places]
    rows = zip(*tables, strict=True)
    return [{"name": row[0][0], "values": [value for _, value in row]} for row in rows]


def _commands(study: Study) -> list[dict[str, str]]:
    return [
        {"title": f"{s.key.title()} at {s.place}", "argv": shlex.join(s.records[0].argv)}
        for s in study.series
        if s.records and s.records[0].argv
    ]
