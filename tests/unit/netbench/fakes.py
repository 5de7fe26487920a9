"""Puts stand-ins where netbench looks for hydra, OSU and kubectl."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from netbench.plan.document import API_VERSION, Plan, plan_from

HERE = Path(__file__).parent
BARRIER = """#!/bin/sh
[ "$1" = -h ] && {{ echo "  -i ITER"; exit 0; }}
{body}
[ "$PMI_RANK" = 0 ] || exit 0
printf '\\n# OSU MPI Barrier Latency Test v7.4\\n# Avg Latency(us)\\n             %s\\n' "{figure}"
"""


def program(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def install(prefix: Path, body: str = "", figure: str = "4.25") -> None:
    """hydra and an osu_barrier in `prefix`; `body` runs in every rank before the figure is printed."""
    program(prefix / "bin" / "mpiexec.hydra", f'#!/bin/sh\nexec {sys.executable} {HERE}/fake_hydra.py "$@"\n')
    program(prefix / "bin" / "osu_barrier", BARRIER.format(body=body, figure=figure))


def kubectl(tmp_path: Path) -> tuple[list[str], Path]:
    """The command of a kubectl, and the folder of its pods."""
    folder = tmp_path / "pods"
    folder.mkdir()
    return [sys.executable, str(HERE / "fake_kubectl.py"), str(folder)], folder


def small_plan(prefix: Path, **fields: Any) -> Plan:
    """Two local nodes, one benchmark, two repeats; MPI is left its own transport, since the stand-ins send nothing."""
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "cases": ["osu_barrier"],
            "places": ["bare-metal"],
            "repeats": 2,
            "warmups": 0,
            "timeLimit": 20,
            "mpi": {"transport": "default"},
            "software": {"prefixes": [str(prefix)]},
            **fields,
        }
    )
