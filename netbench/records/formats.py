"""What the lines of a foreign output mean, by a format file in YAML; a line that no pattern describes is refused.

A run begins with a line that matches ``begins`` and then goes forward through its ``steps``; each step describes the
lines it allows. Several runs may stand in one file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from netbench.records.record import Sample
from netbench.records.schema import about, decode, parsed
from usernetes_deploy.errors import SpecError, UsageError

FOLDER = Path(__file__).with_name("import_rules")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"


class LineError(Exception):
    """A line that is not understood: its number from 1, and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


@dataclass(frozen=True)
class Figure:
    """What a named group of a pattern measures."""

    unit: str = about("its unit")
    better: Literal["lower", "higher", "none"] = about("the good direction")
    metric: str | None = about("its metric where that is not the group's name; may hold {group}s", default=None)
    last: bool = about("true: of several lines the last one counts", default=False)
    clock: bool = about("true: h:mm:ss, turned into seconds", default=False)


@dataclass(frozen=True)
class Line:
    """One kind of line."""

    match: str = about("regular expression of the whole line")
    samples: Mapping[str, Figure] = about("group name to figure", default={})
    note: str | None = about("kept with the record; may hold {group}s", default=None)


@dataclass(frozen=True)
class Step:
    """Lines that may follow one another in any number; at least one must be there, with figures if any has some."""

    needed: str = about("what is missing when no line of this step was seen")
    lines: tuple[Line, ...] = about("lines with figures", default=())
    skip: tuple[str, ...] = about("lines known to hold nothing of interest", default=())

    def has_figures(self) -> bool:
        """True when one of its lines holds figures: a heading alone does not make such a step complete."""
        return any(line.samples for line in self.lines)


@dataclass(frozen=True)
class Run:
    """One benchmark's output."""

    begins: str = about("regular expression of its first line; groups: tool_version")
    steps: tuple[Step, ...] = about("in order")
    case: str | None = about("the benchmark's name where the output itself tells it", default=None)
    binary: str | None = about("name of the binary that tool_version identifies", default=None)


@dataclass(frozen=True)
class Format:
    """A format file."""

    tool: str = about("what wrote the output")
    label: str = about("shown beside every figure")
    family: str = about("the records' case.family")
    runs: tuple[Run, ...] = about("the outputs known")
    between: tuple[Line, ...] = about("lines that may stand before, between and after runs", default=())


@dataclass
class Table:
    """What one run's output said."""

    run: Run
    line: int
    tool_version: str | None
    notes: list[str] = field(default_factory=list)
    samples: dict[tuple[str, int | None], Sample] = field(default_factory=dict)
    steps_seen: set[int] = field(default_factory=set)


def read_yaml(kind: type, path: Path) -> Any:
    """Read a rules file into its dataclass. Raises `SpecError` with every problem's path."""
    made, problems = decode(kind, parsed(path, _LOADER))
    if problems:
        raise SpecError(problems, str(path))
    return made


@cache
def known_format(name: str) -> Format:
    """The format `name` of those shipped."""
    path = FOLDER / f"{name}.format.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.name.removesuffix(".format.yaml") for p in FOLDER.glob("*.format.yaml")))
        raise UsageError(f"there is no format {name!r}; known: {known}")
    made: Format = read_yaml(Format, path)
    return made


def parse(text: str, form: Format) -> list[Table]:
    """The runs in `text`. Raises `LineError` at the first line that is not understood or comes too early or late.

    >>> [table] = parse("# OSU MPI Latency Test v5.8\\n# Size  Latency (us)\\n8  4.25\\n", known_format("osu"))
    >>> table.samples["latency", 8]
    Sample(metric='latency', unit='us', value=4.25, better='lower', size=8)
    """
    lines = text.split("\n")
    if lines.pop():
        raise LineError(len(lines) + 1, "the file breaks off in this line: it has no end")
    tables: list[Table] = []
    step = 0
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        begun = _begin(line, number, form)
        if begun:
            if tables:
                _check_complete(tables[-1], number)
            begun.notes += notes
            tables.append(begun)
            step, notes = 0, []
            continue
        if tables and (later := _advance(tables[-1], step, line, number)) is not None:
            step = later
            continue
        note = _between(line, form)
        if note is None:
            raise LineError(number, f"not understood: {line[:120]!r}")
        if note:
            notes.append(note)
    if not tables:
        raise LineError(max(len(lines), 1), f"no output of {form.tool} in the whole file")
    _check_complete(tables[-1], len(lines))
    tables[-1].notes += notes
    return tables


@cache
def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text.replace("{number}", NUMBER))
    except re.error as error:
        raise UsageError(f"a rule's pattern {text!r} is no regular expression: {error}") from error


@cache
def _alternatives(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return _pattern("|".join(f"(?:{pattern})" for pattern in patterns))


def _begin(line: str, number: int, form: Format) -> Table | None:
    for run in form.runs:
        found = _pattern(run.begins).fullmatch(line)
        if found:
            return Table(run, number, found.groupdict().get("tool_version"))
    return None


def _between(line: str, form: Format) -> str | None:
    for known in form.between:
        found = _pattern(known.match).fullmatch(line)
        if found:
            return known.note.format(**found.groupdict()) if known.note else ""
    return None


def _advance(table: Table, step: int, line: str, number: int) -> int | None:
    """The step that `line` belongs to, its figures taken; None: to none of those still to come."""
    steps = table.run.steps
    for i in range(step, len(steps)):
        for known in steps[i].lines:
            found = _pattern(known.match).fullmatch(line)
            if found:
                _take(table, known, found, number)
                if known.samples or (line and not steps[i].has_figures()):
                    table.steps_seen.add(i)
                return i
        if steps[i].skip and _alternatives(steps[i].skip).fullmatch(line):
            if line and not steps[i].has_figures():
                table.steps_seen.add(i)
            return i
        if i not in table.steps_seen:
            return None
    return None


def _take(table: Table, known: Line, found: re.Match[str], number: int) -> None:
    groups = found.groupdict()
    size = int(groups["size"]) if "size" in groups else None
    for group, figure in known.samples.items():
        metric = (figure.metric or group).format(**groups).lower()
        if (metric, size) in table.samples and not figure.last:
            raise LineError(number, f"a second {metric}" + (f" of size {size}" if size is not None else ""))
        value = _seconds(groups[group]) if figure.clock else float(groups[group])
        table.samples[metric, size] = Sample(metric, figure.unit, value, figure.better, size)


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return float(int(hours) * 3600 + int(minutes) * 60 + int(seconds))


def _check_complete(table: Table, number: int) -> None:
    for i, step in enumerate(table.run.steps):
        if i not in table.steps_seen:
            raise LineError(number, f"the output that begins at line {table.line} ends without {step.needed}")
