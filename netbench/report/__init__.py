"""Writes the report of a folder of records: one self-contained HTML page, the same in Markdown, all figures as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netbench.judge.stats import MARGIN
from netbench.judge.study import Study, study
from netbench.records.record import RecordError, load_dir
from netbench.report import page, tables
from usernetes_deploy.errors import UsageError

TITLE = "What do pods cost?"


@dataclass(frozen=True)
class Written:
    """The files of a report, and what it is made of."""

    html: Path
    markdown: Path
    csv: Path
    study: Study
    unreadable: list[RecordError]


def write_report(
    records_dir: Path,
    out_dir: Path,
    *,
    baseline: str = "",
    margin: float = MARGIN,
    seed: int = 1,
    title: str = TITLE,
) -> Written:
    """Read the records below `records_dir` and write ``report.html``, ``report.md`` and ``report.csv`` to `out_dir`.

    The same records, margin and seed give the same bytes. Records that cannot be used are named in the report.
    Raises `UsageError` when there is no usable record, or none at the baseline.
    """
    records, unreadable = load_dir(records_dir)
    if not records:
        named = "".join(f"\n  {error}" for error in unreadable[:5])
        raise UsageError(f"no usable record below {records_dir}{named}")
    found = study(records, baseline=baseline, margin=margin, seed=seed)
    imported = all(record.origin == "imported" for record in records)
    repeat = [
        "# the records",
        "netbench import DIR --out RECORDS" if imported else "netbench run PLAN --out RECORDS",
        "# this page",
        f"netbench report RECORDS --baseline {found.baseline} --margin {margin * 100:g} --seed {seed}",
    ]
    out_dir.mkdir(parents=True, exist_ok=True)
    made = Written(out_dir / "report.html", out_dir / "report.md", out_dir / "report.csv", found, unreadable)
    made.html.write_text(page.render(found, unreadable, repeat, title), encoding="utf-8")
    made.markdown.write_text(tables.markdown(found, unreadable, repeat, title), encoding="utf-8")
    made.csv.write_text(tables.csv_text(found), encoding="utf-8")
    return made
