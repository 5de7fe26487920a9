"""``benchmarks/launch.py --slurm`` measures what it says: a job that comes, is proven, and goes."""

from __future__ import annotations

import json

from tests.slurm.clusters import Clusters
from tests.slurm.conftest import REPOSITORY, python_for_the_user


def test_a_job_that_comes_and_goes_is_measured(clusters: Clusters) -> None:
    program = str(REPOSITORY / "benchmarks" / "launch.py")
    argv = [python_for_the_user(), program, "--slurm", "3", "--runs", "1", "--bundle", str(clusters.bundle)]
    environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = clusters.slurm.run(argv, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    [result] = json.loads(done.stdout)
    median = result["median"]
    assert result["launcher"] == "slurm"
    assert 0 < median["gone"] < 60
    assert median["queued"] >= 0
    assert 0 < median["ready"] <= median["proven"]
    clusters.nothing_left()
