"""The job scripts of slurm-jobs: Slurm understands what they ask for, and the command line comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.instance import Slurm

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "slurm-jobs").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_directives_of_every_script_are_understood(slurm: Slurm, script: Path) -> None:
    words = ["sbatch", "--parsable", "--hold", "--nodes=2", "--time=5", str(slurm.root / script.name)]
    job = slurm.ask(*words)
    try:
        name, nodes, limit = slurm.ask("squeue", "--noheader", f"--jobs={job}", "--format=%j %D %l").split()
        assert script.stem.startswith(name)
        assert (nodes, limit) == ("2", "5:00")
    finally:
        slurm.ask("scancel", job)
