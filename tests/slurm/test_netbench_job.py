"""``sbatch -N2 netbench.sh PLAN``, for real: a cluster in the job, runs on bare metal and in pods, a report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.flux.test_netbench_job import PLAN, has_mpi
from tests.slurm.clusters import Clusters
from tests.slurm.conftest import REPOSITORY, python_for_the_user
from tests.slurm.instance import UID


def test_a_job_leaves_a_report_of_runs_on_bare_metal_and_in_pods(clusters: Clusters) -> None:
    slurm = clusters.slurm
    python = python_for_the_user()
    prefix = has_mpi(python)
    if prefix is None:
        pytest.skip("no MPI beside the tests' Python (extra `bench`)")
    command = slurm.scripts / "netbench"
    command.write_text(
        f"#!{python}\nimport sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from netbench.cli import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    folder = slurm.root / "campaign"
    folder.mkdir()
    plan = PLAN.format(prefix=prefix, bundle=clusters.bundle).replace("flux", "slurm")
    (folder / "plan.yaml").write_text(plan)
    os.chown(folder, UID, UID)
    script = str(slurm.root / "netbench.sh")
    output = f"--output={slurm.root}/output/%j"
    here = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}  # netbench runs usernetes by its module
    argv = ["sbatch", "--parsable", "-N2", output, f"--chdir={folder}", script, "plan.yaml"]
    job = slurm.ask(*argv, env=here)
    assert clusters.ended(job, 400) == "0:0", clusters.output(job)
    results = Path(folder, f"netbench-{job}")
    assert (results / "report.html").stat().st_size > 10_000
    records = [json.loads(path.read_text()) for path in results.rglob("*.record.json")]
    done = sorted((record["place"], record["case"]["name"], record["sanity"]["ok"]) for record in records)
    assert done == [("bare-metal", "builtin_latency", True)] * 2 + [("pod-native", "builtin_latency", True)] * 2
    clusters.nothing_left()
