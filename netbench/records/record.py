"""One run of one benchmark at one place: what was executed, under which conditions, and what it measured.

A record is one JSON file. Its schema is published as ``schema/record.schema.json`` (made from the classes below). What
is not known is ``null`` or empty, never guessed: a rule of fairness can then say "not recorded".

>>> made = Record(id="r1", campaign="c", case=Case(name="osu_barrier", family="osu"), place="bare-metal",
...               node_count=2, ranks=2, repeat=1, sanity=Sanity(ok=False, reason="rank 1 was lost"))
>>> Record.from_json(made.to_json()) == made
True
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from netbench.records.schema import Problems, about, decode, encode, json_schema
from usernetes_deploy.errors import UsageError, UsernetesError

SCHEMA = "usernetes.dev/netbench-record/v1"
SCHEMA_FILE = Path(__file__).with_name("schema") / "record.schema.json"
SUFFIX = ".record.json"


class RecordError(UsernetesError):
    """A record cannot be used: every problem with its path in the file."""

    def __init__(self, source: str, problems: Problems) -> None:
        self.source, self.problems = source, list(problems)
        lines = "".join(f"\n  {path}: {problem}" for path, problem in self.problems)
        super().__init__(f"{source} is not a record of schema {SCHEMA}:{lines}")


@dataclass(frozen=True)
class Case:
    """What was run. Two records are compared only when their cases are equal."""

    name: str = about("the benchmark, e.g. osu_latency, lammps_hns, noise", pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    family: str = about("osu, lammps, tcp, pods or noise: which plots and words fit", pattern=r"^[a-z0-9_-]+$")
    tool: str = about("what measured, e.g. osu-micro-benchmarks, iperf3, netbench", default="")
    tool_version: str | None = about("its version as it printed it", default=None)
    label: str = about("shown beside every figure: OSU for the real suite, builtin for our own", default="")
    parameters: Mapping[str, str] = about("what changes the work done, e.g. {'x': '2'}", default={})


@dataclass(frozen=True)
class Node:
    """One machine of the run, and the state it was in just before."""

    name: str = about("the host's name")
    kernel: str | None = about("uname -r", default=None)
    cpus: int | None = about("CPUs online", default=None, minimum=1)
    governor: str | None = about("frequency governor of CPU 0", default=None)
    load_before: float | None = about("1-minute load average before the run", default=None, minimum=0)
    busy_before: float | None = about("CPUs busy in the 0.3 s before the run", default=None, minimum=0)
    idle_cost_percent: float | None = about(
        "CPU of one core the resting cluster took here, in percent", default=None, minimum=0
    )
    topology: str | None = about("where it stands, e.g. rack3/switch1", default=None)


@dataclass(frozen=True)
class Rank:
    """Where an MPI rank ran and what it was allowed to run on."""

    rank: int = about("MPI rank", minimum=0)
    node: str = about("the node's name")
    cpus: str = about("allowed CPUs, as in Cpus_allowed_list, e.g. 0-3,8", pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$")


@dataclass(frozen=True)
class Throttling:
    """Counters of cpu.stat at one moment."""

    periods: int = about("nr_periods", minimum=0)
    throttled: int = about("nr_throttled", minimum=0)
    throttled_us: int = about("throttled time in microseconds", minimum=0)


@dataclass(frozen=True)
class Limits:
    """What the cgroups of a node's ranks allowed, the tightest on the way to the root; null = none in force."""

    node: str = about("the node's name")
    cpu_cores: float | None = about("CPU quota in cores; null = no quota", default=None, minimum=0)
    memory_bytes: int | None = about("memory limit in bytes; null = none", default=None, minimum=0)
    cpuset: str | None = about("CPUs the cgroup allows; null = all", default=None)
    before: Throttling | None = about("throttling counters before the run", default=None)
    after: Throttling | None = about("throttling counters after the run", default=None)


@dataclass(frozen=True)
class Traffic:
    """An interface that the run could have used, with its byte counters around the run."""

    node: str = about("the node's name")
    interface: str = about("e.g. eth0, wg0")
    mtu: int = about("in bytes", minimum=0)
    rx_before: int = about("bytes received before the run", minimum=0)
    rx_after: int = about("bytes received after the run", minimum=0)
    tx_before: int = about("bytes sent before the run", minimum=0)
    tx_after: int = about("bytes sent after the run", minimum=0)


@dataclass(frozen=True)
class Sanity:
    """Whether the run proved itself. Where it did not, there are no samples."""

    ok: bool = about("true: the figures may be used")
    reason: str = about("why not, in one line", default="")


@dataclass(frozen=True)
class Sample:
    """One figure with its unit."""

    metric: str = about("e.g. latency, bandwidth, loop_time", pattern=r"^[a-z0-9][a-z0-9_]*$")
    unit: str = about("e.g. us, MB/s, s, %")
    value: float = about("the figure, never NaN or infinite")
    better: Literal["lower", "higher", "none"] = about("the good direction; none: information only, never judged")
    size: int | None = about("message size in bytes; null where there is none", default=None, minimum=0)


@dataclass(frozen=True)
class Record:
    """One run. Empty or null means not recorded, except where a field says otherwise."""

    id: str = about("unique in its folder; also the file's name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    campaign: str = about("runs of one plan on one allocation; never pooled with another campaign")
    case: Case = about("what was run")
    place: str = about("bare-metal, bare-metal-beside, pod-native, pod-mesh, mpijob-mesh, ...", pattern=r"^[a-z0-9-]+$")
    node_count: int = about("machines that took part", minimum=1)
    ranks: int = about("MPI ranks (1 where there is no MPI)", minimum=1)
    repeat: int = about("number of this repetition, from 1; runs of one repeat at all places form a block", minimum=0)
    sanity: Sanity = about("whether the figures may be used")
    samples: tuple[Sample, ...] = about("the figures; empty where sanity is not ok", default=())
    schema: str = about("version of this schema", default=SCHEMA)
    origin: Literal["measured", "imported"] = about("imported: read from foreign raw output", default="measured")
    warmup: bool = about("true: kept, but no part of the statistics", default=False)
    order: int | None = about("position in the plan as executed, over all cases and places", default=None, minimum=0)
    interleaved: bool = about("true: places took turns in shuffled order within each repeat", default=False)
    seed: int | None = about("seed of the plan's shuffle", default=None)
    nodes: tuple[Node, ...] = about("in rank order; empty: not recorded", default=())
    launcher: str | None = about(
        "what started the ranks: hydra, openmpi, flux, srun, mpijob (hydra); null: no MPI, or not recorded",
        default=None,
    )
    argv: tuple[str, ...] = about("the command as executed", default=())
    env: Mapping[str, str] = about("environment that matters (MPI, UCX, OMP, placement)", default={})
    affinity: tuple[Rank, ...] = about("every rank; empty: not recorded", default=())
    limits: tuple[Limits, ...] | None = about("one a node; null: not recorded", default=None)
    transport: str | None = about("what carried the messages, as seen: tcp, shm, efa, ...", default=None)
    traffic: tuple[Traffic, ...] = about("interfaces with counters around the run", default=())
    binaries: Mapping[str, str] = about("name to sha256 (or the build's own id) of what ran", default={})
    inputs: Mapping[str, str] = about("name to sha256 of what it read", default={})
    versions: Mapping[str, str] = about("e.g. mpi, kubernetes, containerd, libc", default={})
    start: str | None = about("ISO 8601 with zone", default=None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
    end: str | None = about("ISO 8601 with zone", default=None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
    exit_code: int | None = about("of the launcher; negative: the signal", default=None)
    raw: tuple[str, ...] = about("raw outputs, relative to this file's folder", default=())
    notes: tuple[str, ...] = about("anything a reader should know", default=())

    def to_json(self) -> str:
        """The file's text; fields at their default are left out (but for the schema's version)."""
        return _text(self._data())

    @classmethod
    def from_json(cls, text: str, source: str = "the record") -> Record:
        """Read a record. Raises `RecordError` that names each problem's path in the file."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise RecordError(source, [("(the file)", f"is no JSON: {error}")]) from error
        if isinstance(data, dict) and data.get("schema", None) != SCHEMA:
            raise RecordError(source, [("schema", f"expected {SCHEMA!r}, got {data.get('schema', None)!r}")])
        decoded, problems = decode(cls, data)
        record: Record = decoded
        problems = problems or _contradictions(record)
        if problems:
            raise RecordError(source, problems)
        return record

    def save(self, folder: Path) -> Path:
        """Write ``<id>.record.json`` into `folder`, whole or not at all; the path."""
        data = self._data()
        problems = decode(Record, data)[1] or _contradictions(self)
        if problems:
            raise RecordError(self.id, problems)
        target = folder / f"{self.id}{SUFFIX}"
        partial = target.with_suffix(".partial")
        partial.write_text(_text(data), encoding="utf-8")
        partial.replace(target)
        return target

    def _data(self) -> dict[str, Any]:
        return {"schema": self.schema, **encode(self)}


def _text(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _contradictions(record: Record) -> Problems:
    """What the types cannot say."""
    problems: Problems = []
    if not record.sanity.ok and record.samples:
        problems.append(("samples", "must be empty where sanity.ok is false"))
    if not record.sanity.ok and not record.sanity.reason:
        problems.append(("sanity.reason", "is missing where sanity.ok is false"))
    if record.sanity.ok and not record.samples:
        problems.append(("samples", "is empty though sanity.ok is true"))
    if record.nodes and len(record.nodes) != record.node_count:
        problems.append(("nodes", f"has {len(record.nodes)} entries, but node_count is {record.node_count}"))
    seen: set[tuple[str, int | None]] = set()
    for i, sample in enumerate(record.samples):
        if (sample.metric, sample.size) in seen:
            problems.append((f"samples[{i}]", f"a second {sample.metric} of size {sample.size}"))
        seen.add((sample.metric, sample.size))
    return problems


def load(path: Path) -> Record:
    """Read one file. Raises `RecordError`."""
    try:
        return Record.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(str(path), [("(the file)", str(error))]) from error


def load_dir(folder: Path) -> tuple[list[Record], list[RecordError]]:
    """All records below `folder`, by campaign, case, place and repeat, and those that cannot be used."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of records")
    records: list[Record] = []
    problems: list[RecordError] = []
    for path in _record_files(folder):
        try:
            records.append(load(path))
        except RecordError as error:
            problems.append(error)
    records.sort(key=lambda r: (r.campaign, r.case.name, r.node_count, r.ranks, r.place, r.repeat, r.id))
    return records, problems


def _record_files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(SUFFIX):
                yield Path(root, name)


def published_schema() -> dict[str, Any]:
    """The JSON Schema as it is published in `SCHEMA_FILE`."""
    schema = json_schema(Record, "One run of netbench")
    body = schema["$defs"]["Record"]
    body["required"] = [*body["required"], "schema"]
    body["properties"]["schema"]["const"] = SCHEMA
    return {**schema, "$id": SCHEMA}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(published_schema(), indent=2) + "\n", encoding="utf-8")
