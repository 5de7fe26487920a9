"""Clusters in Slurm jobs, for real: submitted by the job script, used from the login host, ended in every way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.flux.machines import wait_until
from tests.slurm.clusters import Clusters


@pytest.fixture(scope="module")
def job(clusters: Clusters) -> Iterator[str]:
    """A cluster on two of the three hosts, in a job."""
    made = clusters.ready(clusters.submit("--nodes=2"))
    yield made
    clusters.slurm.cancel_jobs()
    clusters.nothing_left()


def test_the_cluster_is_used_from_the_login_host_by_the_jobs_id(clusters: Clusters, job: str) -> None:
    status = json.loads(clusters.usernetes("status", "--cluster", job, "--json"))
    assert [node["name"] for node in status["nodes"]] == ["sl0", "sl1"]
    assert "sl1" in clusters.usernetes("kubectl", "--cluster", job, "get", "nodes")


def test_it_is_listed(clusters: Clusters, job: str) -> None:
    assert f"job-{job}" in clusters.usernetes("list")


def test_the_jobs_own_steps_have_all_its_cpus(clusters: Clusters, job: str) -> None:
    argv = ["srun", f"--jobid={job}", "--overlap", "--nodes=2", "--ntasks=8", "hostname"]
    assert len(clusters.slurm.ask(*argv).split()) == 8


def test_cancelling_leaves_nothing(clusters: Clusters, job: str) -> None:
    began = time.monotonic()
    clusters.slurm.ask("scancel", job)
    clusters.nothing_left()
    print(f"scancel to nothing left: {time.monotonic() - began:.1f} s")
    code, said = clusters.refused("status", "--cluster", job)
    assert code == 2
    assert f"job {job} has ended: cancelled" in said


def test_a_workflow_is_a_payload_with_its_exit_code(clusters: Clusters) -> None:
    script = "kubectl get nodes --no-headers | wc -l; exit 7"
    job = clusters.submit("--nodes=2", job=("--", "sh", "-c", script))
    assert clusters.ended(job, 240) == "7:0"
    assert "\n2\n" in clusters.output(job)
    clusters.nothing_left()


def test_down_from_the_login_host_ends_the_job_in_order(clusters: Clusters) -> None:
    job = clusters.ready(clusters.submit("--nodes=1"))
    assert f"cluster job-{job}" in clusters.usernetes("status", "--cluster", job)
    clusters.usernetes("down", "--cluster", job)
    wait_until(lambda: clusters.state(job) == "COMPLETED", "the end of the job")
    assert "ending: pods have" in clusters.output(job)
    clusters.nothing_left()
