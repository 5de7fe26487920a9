"""``flux batch -N2 netbench.sh PLAN``, for real: a cluster in the job, runs on bare metal and in pods, a report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.flux.clusters import Clusters
from tests.flux.conftest import REPOSITORY
from tests.flux.machines import UID

pytestmark = pytest.mark.cluster
PLAN = """
apiVersion: usernetes.dev/v1alpha1
kind: Benchmark
name: in-a-job
places: [bare-metal, pod-native]
nodes: [2]
repeats: 2
warmups: 0
timeLimit: 90
launcher: flux
software: {{prefixes: [{prefix}]}}
mpi: {{launcher: hydra, transport: tcp}}
cluster: {{managed: true, name: netbench, settings: [launcher=flux, nodes=2, bundle={bundle}, waitSeconds=200]}}
cases:
  - {{case: osu_latency, parameters: {{sizes: "8:64", iterations: 200, warmup: 20}}}}
"""


def has_mpi(python: str) -> Path | None:
    """The prefix with MPICH's wheel, which the `bench` extra brings."""
    prefix = Path(python).parents[1]
    return prefix if (prefix / "bin" / "mpiexec.hydra").exists() else None


def test_a_job_leaves_a_report_of_runs_on_bare_metal_and_in_pods(clusters: Clusters) -> None:
    instance = clusters.instance
    prefix = has_mpi(instance.python)
    if prefix is None:
        pytest.skip("no MPI beside the tests' Python (extra `bench`)")
    (instance.scripts / "netbench").write_text(
        f"#!{instance.python}\nimport sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from netbench.cli import main\nsys.exit(main())\n"
    )
    (instance.scripts / "netbench").chmod(0o755)
    folder = instance.root / "campaign"
    folder.mkdir()
    (folder / "plan.yaml").write_text(PLAN.format(prefix=prefix, bundle=clusters.bundle))
    os.chown(folder, UID, UID)
    script = str(instance.root / "netbench.sh")
    job = instance.ask("flux", "batch", "-N2", "--output=kvs", script, "plan.yaml", cwd=str(folder))
    assert clusters.ended(job, 400) == 0, clusters.output(job)
    (results,) = folder.glob("netbench-*")
    assert (results / "report.html").stat().st_size > 10_000
    records = [json.loads(path.read_text()) for path in results.rglob("*.record.json")]
    done = sorted((record["place"], record["case"]["name"], record["sanity"]["ok"]) for record in records)
    assert done == [("bare-metal", "builtin_latency", True)] * 2 + [("pod-native", "builtin_latency", True)] * 2
    clusters.nothing_left()
