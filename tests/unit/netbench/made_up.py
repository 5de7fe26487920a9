"""Made-up records whose truth is known: a machine, places that cost a given factor, noise from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from netbench.records.record import Case, Limits, Node, Rank, Record, Sample, Sanity, Throttling, Traffic

SIZES = (0, 8, 1024, 65536, 4194304)


def node(name: str, **changed: Any) -> Node:
    known = {
        "kernel": "6.1.0",
        "cpus": 16,
        "governor": "performance",
        "load_before": 0.1,
        "busy_before": 0.0,
        "idle_cost_percent": 0.9,
    }
    return Node(**{"name": name, **known, **changed})


def record(place: str = "bare-metal", repeat: int = 1, value: float = 10.0, **changed: Any) -> Record:
    """A record with every condition known, one sample of 8 bytes."""
    names = ("node1", "node2")
    known: dict[str, Any] = {
        "id": f"made-up.{place}.{repeat:03d}",
        "campaign": "made up",
        "case": Case("osu_latency", "osu", "osu-micro-benchmarks", "7.4", "OSU"),
        "place": place,
        "node_count": 2,
        "ranks": 2,
        "repeat": repeat,
        "sanity": Sanity(ok=True),
        "samples": (Sample("latency", "us", value, "lower", 8),),
        "interleaved": True,
        "seed": 7,
        "order": repeat,
        "nodes": tuple(node(name) for name in names),
        "launcher": "hydra",
        "argv": ("mpiexec.hydra", "-n", "2", "osu_latency"),
        "affinity": tuple(Rank(i, name, "0-15") for i, name in enumerate(names)),
        "limits": tuple(Limits(name, before=Throttling(100, 0, 0), after=Throttling(200, 0, 0)) for name in names),
        "transport": "tcp",
        "traffic": tuple(Traffic(name, "eth0", 1500, 0, 50_000_000, 0, 50_000_000) for name in names),
        "binaries": {"osu_latency": "a" * 64},
        "versions": {"mpi": "MPICH 4.2"},
        "start": f"2026-01-01T10:{repeat % 60:02d}:00+00:00",
        "end": f"2026-01-01T10:{repeat % 60:02d}:30+00:00",
        "exit_code": 0,
    }
    return Record(**{**known, **changed})


def campaign(
    costs: Mapping[str, float],
    *,
    runs: int = 20,
    noise: float = 0.01,
    seed: int = 1,
    sizes: Sequence[int | None] = SIZES,
    case: Case | None = None,
    metric: str = "latency",
    unit: str = "us",
    better: str = "lower",
    level: float = 5.0,
    node_count: int = 2,
    change: Callable[[Record], Record] = lambda r: r,
) -> list[Record]:
    """Interleaved runs: `costs` is place to true factor (of time, or of what bandwidth is left)."""
    rng = np.random.default_rng(seed)
    made = []
    case = case or Case("osu_latency", "osu", "osu-micro-benchmarks", "7.4", "OSU")
    for repeat in range(1, runs + 1):
        block = float(np.exp(rng.normal(0, 2 * noise)))
        for position, (place, cost) in enumerate(costs.items()):
            samples = tuple(
                Sample(
                    metric,
                    unit,
                    float(level * (1 + (size or 0) / 5000) * cost * block * np.exp(rng.normal(0, noise))),
                    better,  # type: ignore[arg-type]
                    size,
                )
                for size in sizes
            )
            made.append(
                change(
                    record(
                        place,
                        repeat,
                        id=f"made-up.{case.name}.{node_count}.{place}.{repeat:03d}",
                        case=case,
                        node_count=node_count,
                        ranks=node_count,
                        nodes=tuple(node(f"node{i + 1}") for i in range(node_count)),
                        order=(repeat - 1) * len(costs) + position,
                        samples=samples,
                    )
                )
            )
    return made
