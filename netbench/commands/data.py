"""``netbench import``, ``report`` and ``compare``: from raw outputs to records, from records to pages."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context
from invoke.tasks import task

from netbench.records.importer import import_dir
from usernetes_deploy.errors import UsageError, UsernetesError

if TYPE_CHECKING:
    from netbench.judge.compare import Compared
    from netbench.judge.study import Study

_MARGIN_HELP = "Difference in percent that still counts as the same."
_SEED_HELP = "Seed of the bootstrap; the same seed gives the same page."
_BASELINE_HELP = "Place that the others are compared with (default: bare-metal)."


@task(
    name="import",
    positional=["directory"],
    help={
        "directory": "Folder with raw outputs.",
        "out": "Folder for the records, made if needed.",
        "rules": "Layout file (YAML) that says which file is which run; default: the published campaign's.",
    },
)
def import_(_: Context, directory: str, out: str, rules: str = "") -> None:
    """Read foreign raw outputs into records; what cannot be read is named with file and line."""
    found = import_dir(Path(directory), Path(out), Path(rules) if rules else None)
    for problem in found.unread:
        print(problem, file=sys.stderr)
    sound = sum(record.sanity.ok for record in found.records)
    print(f"{sound} records from {found.files} files in {out}")
    if found.unread:
        raise UsernetesError(
            f"{len(found.unread)} of {found.files} files could not be read whole; they are named above"
        )


@task(
    positional=["records"],
    help={
        "records": "Folder with records (folders below are read too).",
        "out": "Folder for report.html, report.md and report.csv (default: the records' folder).",
        "baseline": _BASELINE_HELP,
        "margin": _MARGIN_HELP,
        "seed": _SEED_HELP,
        "title": "Title of the page.",
        "json": "Print the verdicts as JSON.",
    },
)
def report(
    _: Context,
    records: str,
    out: str = "",
    baseline: str = "",
    margin: float = 3.0,
    seed: int = 1,
    title: str = "What do pods cost?",
    json: bool = False,
) -> None:
    """Write the report of a folder of records and print where it is."""
    _check_extra()
    from netbench.report import write_report
    from netbench.report.words import lead

    written = write_report(
        Path(records), Path(out or records), baseline=baseline, margin=_share(margin), seed=seed, title=title
    )
    for sentence in lead(written.study):
        print(sentence, file=sys.stderr)
    if json:
        _print_json({"html": str(written.html), "verdicts": _verdicts(written.study)})
    else:
        print(written.html)
    if written.unreadable:
        for error in written.unreadable:
            print(error, file=sys.stderr)
        raise UsernetesError(f"{len(written.unreadable)} records could not be used; they are named in the report")


@task(
    positional=["first", "second"],
    help={
        "first": "Folder with the records of one campaign.",
        "second": "Folder with those of the other.",
        "out": "Folder for compare.html and compare.md.",
        "names": "What to call the two, as FIRST,SECOND (default: A,B).",
        "baseline": _BASELINE_HELP,
        "margin": _MARGIN_HELP,
        "seed": _SEED_HELP,
        "json": "Print the verdicts as JSON.",
    },
)
def compare(
    _: Context,
    first: str,
    second: str,
    out: str = ".",
    names: str = "A,B",
    baseline: str = "",
    margin: float = 3.0,
    seed: int = 1,
    json: bool = False,
) -> None:
    """Compare two campaigns, from two sites or two dates: the machine, and the cost of pods on it."""
    _check_extra()
    from netbench.judge.compare import compare as compare_campaigns
    from netbench.report.compared import lead, write_compared

    called = names.split(",")
    if len(called) != 2 or not all(called):
        raise UsageError(f"--names wants two names, as A,B; got {names!r}")
    found = compare_campaigns(
        Path(first),
        Path(second),
        names=(called[0], called[1]),
        baseline=baseline,
        margin=_share(margin),
        seed=seed,
    )
    html, _markdown = write_compared(found, Path(out))
    for sentence in lead(found):
        print(sentence, file=sys.stderr)
    if json:
        _print_json({"html": str(html), "changes": _changes(found)})
    else:
        print(html)
    if found.unreadable:
        raise UsernetesError(f"{len(found.unreadable)} records could not be used; they are named in {html}")


def _check_extra() -> None:
    """The other verbs work without numpy and matplotlib, and start faster for not loading them."""
    missing = [name for name in ("numpy", "matplotlib", "jinja2") if not find_spec(name)]
    if missing:
        raise UsageError(
            f"reports need {', '.join(missing)}, not installed here", remedy="pip install 'usernetes-deploy[report]'"
        )


def _share(percent: float) -> float:
    if not 0 < percent < 100:
        raise UsageError(f"--margin is a percentage between 0 and 100, got {percent:g}")
    return percent / 100


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=1))


def _verdicts(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "benchmark": c.key.title(),
            "campaign": c.key.campaign,
            "metric": c.metric,
            "place": c.other.place,
            "baseline": c.base.place,
            "overall": c.verdict.overall,
            "text": c.verdict.text,
            "findings": [{"rule": f.rule, "level": f.level, "text": f.text} for f in c.findings],
            "sizes": [
                {
                    "size": j.size,
                    "ratio": j.interval.ratio,
                    "low": j.interval.low,
                    "high": j.interval.high,
                    "outcome": j.outcome,
                    "more_runs": j.more,
                }
                for j in c.verdict.judgements
            ],
        }
        for c in study.comparisons
    ]


def _changes(found: Compared) -> list[dict[str, Any]]:
    from netbench.judge.compare import in_words

    return [
        {
            "benchmark": c.key.title(),
            "metric": c.metric,
            "place": c.place,
            "own": c.own.text,
            "cost": in_words(c.cost, found.names) if c.cost else None,
        }
        for c in found.changes
    ]
