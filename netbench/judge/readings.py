"""What the fairness rules read in records, as numbers and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from netbench.records.record import Record
from usernetes_deploy.cpus import parse as cpus_of


def short(digest: str | None) -> str:
    """A hash for people: its first twelve digits, or the version that stands for it."""
    if digest is None:
        return "absent"
    return digest.removeprefix("version:") if ":" in digest else digest[:12]


def cpu_count(cpus: str) -> int:
    """How many CPUs a list like ``0-3,8`` holds."""
    return len(cpus_of(cpus)) if cpus else 0


def cpu_limit(record: Record) -> float | str:
    """The CPU limit of a run in cores, "none", or "not recorded"."""
    if record.limits is None:
        return "not recorded"
    return min((limit.cpu_cores for limit in record.limits if limit.cpu_cores is not None), default="none")


def limit_in_words(limit: float | str) -> str:
    """A limit for people."""
    return limit if isinstance(limit, str) else f"{limit:g} cores"


def throttled_periods(record: Record) -> int:
    """In how many scheduling periods a run was held back."""
    return sum(
        limit.after.throttled - limit.before.throttled for limit in record.limits or () if limit.before and limit.after
    )


def median_of(records: Sequence[Record], metric: str) -> float | None:
    """The median of a metric over all samples of all runs; None where there is none."""
    values = [s.value for r in records for s in r.samples if s.metric == metric]
    return float(np.median(values)) if values else None


def median_bytes(records: Sequence[Record]) -> float | None:
    """Bytes that a run moved over its interfaces; None where no run has counters."""
    moved: list[Any] = [
        sum(t.rx_after - t.rx_before + t.tx_after - t.tx_before for t in r.traffic) for r in records if r.traffic
    ]
    return float(np.median(moved)) if moved else None


def some(names: Sequence[str], most: int = 4) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
