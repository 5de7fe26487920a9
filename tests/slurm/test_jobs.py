"""Clusters in Slurm jobs, for real: submitted by the job script, used from the login host, ended in every way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.flux.machines import wait_until
from tests.slurm.clusters import Clusters
from tests.slurm.instance import CPUS


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
    argv = ["srun", f"--jobid={job}", "--overlap", "--nodes=2", f"--ntasks={2 * CPUS}", "hostname"]
    assert len(clusters.slurm.ask(*argv).split()) == 2 * CPUS


def test_cancelling_leaves_nothing(clusters: Clusters, job: str) -> None:
    began = time.monotonic()
    clusters.slurm.ask("scancel", job)
    clusters.nothing_left()
    print(f"scancel to nothing left: {time.monotonic() - began:.1f} s")
    clusters.ended(job)
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


def test_up_outside_a_job_submits_one_and_follows_it(clusters: Clusters) -> None:
    words = ["up", "--launcher", "slurm", "--nodes", "2", "--time", "10m", "--queue", "short", *clusters.settings]
    done = clusters.slurm.run(["usernetes", *words], timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/kubeconfig")
    job = done.stderr.partition("job ")[2].partition(" ")[0]
    assert clusters.slurm.ask("squeue", "-h", f"--jobs={job}", "--format=%P %l %D") == "short 10:00 2"
    clusters.slurm.ask("scancel", job)
    clusters.nothing_left()


def test_before_the_time_limit_pods_end_in_order_and_logs_are_kept(clusters: Clusters) -> None:
    logs = clusters.slurm.root / "output" / "logs"
    job = clusters.ready(clusters.submit("--nodes=1", "--time=10", job=("--notice", "5", "--logs", str(logs))))
    clusters.slurm.ask("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@90 makes Slurm do
    assert clusters.ended(job) == "0:0"
    assert "all pods have ended" in clusters.output(job)
    assert list(logs.glob("*.log"))
    clusters.nothing_left()


def test_a_cluster_grows_into_a_further_job_and_gives_it_back(clusters: Clusters) -> None:
    slurm = clusters.slurm
    job = clusters.ready(clusters.submit("--nodes=2"))
    assert clusters.usernetes("add", "--cluster", job, "--nodes", "1", timeout=240) == "sl2"
    jobs = slurm.ask("squeue", "--me", "--noheader", "--format=%i %k").splitlines()
    assert f"usernetes_joins={job}" in "\n".join(jobs)
    nodes = json.loads(clusters.usernetes("status", "--cluster", job, "--json"))["nodes"]
    assert [node["ready"] for node in nodes] == [True] * 3
    clusters.usernetes("remove", "sl2", "--cluster", job)
    wait_until(lambda: slurm.ask("squeue", "--me", "--noheader", "--format=%i") == job, "the join job's end", 30)
    slurm.ask("scancel", job)
    clusters.nothing_left()


def test_slurmctld_may_be_restarted_meanwhile(clusters: Clusters) -> None:
    job = clusters.ready(clusters.submit("--nodes=1"))
    clusters.slurm.restart_controller()
    assert "Ready" in clusters.usernetes("status", "--cluster", job)
    clusters.slurm.wait_for_answer()
    clusters.usernetes("down", "--cluster", job)
    wait_until(lambda: clusters.state(job) == "COMPLETED", "the end of the job")
    clusters.nothing_left()
