"""The report as Markdown, and every figure of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from netbench.judge.stats import LEVEL, summarise
from netbench.judge.study import Study
from netbench.records.record import RecordError
from netbench.report import page, words

COLUMNS = (
    "campaign",
    "benchmark",
    "label",
    "parameters",
    "nodes",
    "ranks",
    "place",
    "metric",
    "unit",
    "size_bytes",
    "runs",
    "median",
    "mean",
    "sd",
    "min",
    "max",
    "mad",
    "outliers",
    "ratio_to_baseline",
    "ratio_low",
    "ratio_high",
    "outcome",
)


def csv_text(study: Study) -> str:
    """One row for each place, metric and size; all digits. Ratios stand with the other place, not with the baseline."""
    judged = {
        (c.key, c.other.place, c.metric, j.size): (c.verdict.overall, j)
        for c in study.comparisons
        for j in c.verdict.judgements
    }
    held = io.StringIO()
    rows = csv.writer(held, lineterminator="\n")
    rows.writerow(COLUMNS)
    for one in study.series:
        parameters = " ".join(f"{name}={value}" for name, value in one.key.parameters)
        for sample in one.metrics():
            sizes, values = one.table(sample.metric)
            for column, size in enumerate(sizes):
                s = summarise(values[:, column])
                overall, found = judged.get((one.key, one.place, sample.metric, size), ("", None))
                ratio = (found.interval.ratio, found.interval.low, found.interval.high) if found else ("", "", "")
                outcome = "refused" if overall == "refused" else (found.outcome if found else "")
                rows.writerow(
                    cell(value)
                    for value in (
                        *(one.key.campaign, one.key.name, one.key.label, parameters, one.key.node_count, one.key.ranks),
                        *(one.place, sample.metric, sample.unit, "" if size is None else size),
                        *(s.n, s.median, s.mean, s.sd, s.minimum, s.maximum, s.mad, len(s.outliers)),
                        *ratio,
                        outcome,
                    )
                )
    return held.getvalue()


def cell(value: object) -> object:
    """A value as a spreadsheet may have it: a text that it would take for a formula gets a quote in front.

    >>> cell("=1+1"), cell("osu_bw"), cell(-1.5)
    ("'=1+1", 'osu_bw', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def markdown(study: Study, unreadable: Sequence[RecordError], repeat: Sequence[str], title: str) -> str:
    """The report without plots: verdict, table, flags, conditions, how to repeat."""
    records = [r for s in study.series for r in (*s.records, *s.failed)]
    compared = [place for place in study.places() if place != study.baseline]
    lines = [
        f"# {title}",
        "",
        page.subtitle(study, records),
        "",
        "## Verdict",
        "",
        *(f"**{text}**" for text in words.lead(study)),
        "",
    ]
    lines += [f"- **{p}** ({words.PLACES.get(p, p)}): {words.place_sentence(study, p)}" for p in compared]
    lines += [f"- {alert}" for alert in page.alerts(study)]
    lines += ["", *_table(["benchmark", *compared])]
    for made in page.by_benchmark(study.comparisons):
        by_place = {c.other.place: c for c in made}
        cells = [
            f"{words.BADGES[by_place[p].verdict.overall]} {page.brief(by_place[p])}" if p in by_place else "no run"
            for p in compared
        ]
        lines.append(_row([words.title(made[0]), *cells]))
    lines += ["", "## Benchmark by benchmark", ""]
    for made in page.by_benchmark(study.comparisons):
        lines += [f"### {words.title(made[0])}", ""]
        lines += [f"- **{c.other.place}**: {c.verdict.text}." for c in made]
        lines.append("")
    lines += ["## Conditions and flags", ""]
    if page.unknown(study):
        lines += [page.unknown(study), ""]
    lines += [
        f"- {f.finding.level} ({f.finding.rule}): {f.finding.text} [{page.where(f)}]"
        for f in words.flags(study.comparisons)
    ]
    lines += [f"- failed: {r.id}: {r.sanity.reason}" for s in study.series for r in s.failed]
    lines += [f"- unusable record: {error}" for error in unreadable]
    lines += [f"- not compared: {text}" for text in study.without_baseline]
    places = study.places()
    tables = [words.conditions([r for s in study.series if s.place == place for r in s.records]) for place in places]
    lines += ["", *_table(["condition", *places])]
    lines += [_row([row[0][0], *(value for _, value in row)]) for row in zip(*tables, strict=True)]
    lines = [words.markdown_line(line) for line in lines]
    lines += ["", "## How to repeat it", "", "```", *repeat, "```", ""]
    level = f"intervals at {LEVEL * 100:g} % for all sizes together"
    lines += [f"Margin {study.margin * 100:g} %, {level}, seed {study.seed}.", ""]
    return "\n".join(lines)


def _table(heads: Sequence[str]) -> list[str]:
    return [_row(heads), _row(["---"] * len(heads))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
