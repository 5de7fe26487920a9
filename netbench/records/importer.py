"""Reads foreign raw outputs into records, by a layout in YAML: which file is which run, in which format.

What cannot be read is named with file and line, and kept as a record without figures; nothing is skipped silently.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from netbench.records.formats import FOLDER, Format, LineError, Table, known_format, parse, read_yaml
from netbench.records.record import Case, Limits, Record, Sample, Sanity
from netbench.records.schema import about
from usernetes_deploy.errors import UsageError

LAYOUT = FOLDER / "flux-usernetes.layout.yaml"


@dataclass(frozen=True)
class Rule:
    """What the files of one kind are."""

    path: str = about("regular expression, searched in the full path; groups: place, nodes, ranks, repeat")
    format: str = about("name of a format")
    case: str = about("the benchmark that the file must hold")
    campaign: str = about("files of different campaigns are never pooled")
    place: str | None = about("where the path does not tell it", default=None)
    nodes: int | None = about("where the path does not tell it", default=None, minimum=1)
    ranks_per_node: int | None = about("where the path does not tell the ranks", default=None, minimum=1)
    last_size: int | None = about("size of the last row of a complete output", default=None, minimum=0)
    peak: Mapping[str, str] = about("metric to the name of its best value over all sizes", default={})
    cpu_limit_cores: float | None = about("CPU limit of the runs, where it is known", default=None, minimum=0)


@dataclass(frozen=True)
class Layout:
    """A layout file."""

    files: tuple[Rule, ...] = about("the first rule whose path matches is used")
    ignore: tuple[str, ...] = about("paths of files that hold no output", default=())


@dataclass(frozen=True)
class Unread:
    """Something that could not be read. `line` is 0 where it is the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class Imported:
    """What an import made: records (those without figures included), and what could not be read."""

    records: Sequence[Record]
    unread: Sequence[Unread]
    files: int


def import_dir(source: Path, out: Path, layout: Path | None = None) -> Imported:
    """Read all files below `source` into records in `out` (made if needed).

    Raises `UsageError` when there is no such folder, `SpecError` when the layout is wrong.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is no folder")
    rules: Layout = read_yaml(Layout, layout or LAYOUT)
    source, out = source.resolve(), out.resolve()
    records: list[Record] = []
    unread: list[Unread] = []
    paths = sorted(_files(source, out))
    taken = 0
    for path in paths:
        name = path.relative_to(source).as_posix()
        if any(_regex(pattern).search(name) for pattern in rules.ignore):
            continue
        taken += 1
        made, problem = _read(path, name, rules)
        if problem:
            unread.append(problem)
        records.extend(replace(r, raw=(os.path.relpath(path, out),)) for r in made)
    records = _numbered(records)
    out.mkdir(parents=True, exist_ok=True)
    for record in records:
        record.save(out)
    return Imported(records, unread, taken)


def _files(source: Path, out: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(source):
        folders[:] = [f for f in folders if f != ".git" and Path(root, f) != out]
        found += [Path(root, name) for name in names]
    return found


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"a layout's path {pattern!r} is no regular expression: {error}") from error


def _read(path: Path, name: str, layout: Layout) -> tuple[list[Record], Unread | None]:
    for rule in layout.files:
        # The full path, so that a part of a campaign can be imported: its folders' names still tell the place.
        found = _regex(rule.path).search(path.as_posix())
        if found:
            break
    else:
        return [], Unread(name, 0, "no rule says what this file is")
    template, problem = _template(rule, found.groupdict(), name)
    if not template:
        return [], problem
    try:
        content = path.read_bytes()
        form = known_format(rule.format)
        tables = parse(content.decode("utf-8"), form)
        wrong = next((t for t in tables if t.run.case and t.run.case != rule.case), None)
        if wrong:
            raise LineError(wrong.line, f"holds {wrong.run.case}, but its name says {rule.case}")
    except (OSError, UnicodeDecodeError) as error:
        return [], Unread(name, 0, str(error))
    except LineError as error:
        unread = Unread(name, error.line, error.reason)
        return [replace(template, sanity=Sanity(ok=False, reason=str(unread)))], unread
    notes = (f"sha256 of the raw output: {hashlib.sha256(content).hexdigest()}",)
    records = [
        _record(replace(template, notes=notes), table, rule, form, f"table {i} of {len(tables)} in the file")
        for i, table in enumerate(tables, start=1)
    ]
    broken = next((r.sanity.reason for r in records if not r.sanity.ok), None)
    return records, Unread(name, 0, broken) if broken else None


def _template(rule: Rule, groups: Mapping[str, str], name: str) -> tuple[Record | None, Unread | None]:
    """The record as far as the path and the rule tell it."""
    place = groups.get("place") or rule.place
    nodes = int(groups.get("nodes") or rule.nodes or 0)
    ranks = int(groups.get("ranks") or 0) or nodes * (rule.ranks_per_node or 0)
    if not place or nodes < 1 or ranks < 1:
        return None, Unread(name, 0, f"its path and the rule {rule.path!r} do not tell place, nodes and ranks")
    form = known_format(rule.format)
    limits = None if rule.cpu_limit_cores is None else (Limits(node="all", cpu_cores=rule.cpu_limit_cores),)
    return Record(
        id="to-be-numbered",
        campaign=rule.campaign,
        case=Case(name=rule.case, family=form.family, tool=form.tool, label=form.label),
        place=place,
        node_count=nodes,
        ranks=ranks,
        repeat=int(groups.get("repeat") or 1),
        sanity=Sanity(ok=True),
        origin="imported",
        limits=limits,
    ), None


def _record(template: Record, table: Table, rule: Rule, form: Format, which: str) -> Record:
    samples = [*table.samples.values(), *_peaks(table, rule)]
    sanity = Sanity(ok=True)
    last = max((s.size for s in samples if s.size is not None), default=None)
    if rule.last_size is not None and last != rule.last_size:
        sanity = Sanity(ok=False, reason=f"{which} ends at size {last}, not {rule.last_size}: the run broke off")
    ids = {table.run.binary: f"version:{table.tool_version}"} if table.run.binary and table.tool_version else {}
    return replace(
        template,
        # The version stays out of the case where it identifies the binary: there a difference is a matter of fairness.
        case=replace(template.case, tool=form.tool, label=form.label, tool_version=None if ids else table.tool_version),
        sanity=sanity,
        samples=tuple(samples) if sanity.ok else (),
        binaries=ids,
        versions={form.tool: table.tool_version} if table.tool_version else {},
        notes=(*template.notes, *table.notes, *((which,) if not which.endswith(" 1 in the file") else ())),
    )


def _peaks(table: Table, rule: Rule) -> list[Sample]:
    peaks = []
    for metric, name in rule.peak.items():
        rows = [s for s in table.samples.values() if s.metric == metric]
        if rows:
            best = max(rows, key=lambda s: s.value if s.better == "higher" else -s.value)
            peaks.append(replace(best, metric=name, size=None, better="none"))
    return peaks


def _numbered(records: Sequence[Record]) -> list[Record]:
    """Ids, and repeats numbered anew where a file with several runs would make two runs share one."""
    cells: dict[tuple[str, str, str, int, int], list[Record]] = {}
    for record in records:
        cells.setdefault((record.campaign, record.case.name, record.place, record.node_count, record.ranks), []).append(
            record
        )
    made = []
    for (campaign, case, place, nodes, ranks), members in cells.items():
        ordered = sorted(members, key=lambda r: r.repeat)
        unique = len({r.repeat for r in ordered}) == len(ordered)
        for position, record in enumerate(ordered, start=1):
            repeat = record.repeat if unique else position
            words = f"{campaign}.{case}.{place}.{nodes}x{ranks}.{repeat:03d}"
            made.append(replace(record, repeat=repeat, id=re.sub(r"[^A-Za-z0-9._-]+", "-", words)))
    return made
