"""What cannot be done with Slurm jobs is refused with its reason and exit code, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flux.machines import wait_until
from tests.slurm.clusters import Clusters
from tests.slurm.instance import Slurm


@pytest.fixture
def sleeper(slurm: Slurm) -> Iterator[str]:
    """A running job without a cluster."""
    job = slurm.ask("sbatch", "--parsable", "--nodes=1", "--output=/dev/null", "--wrap", "sleep 60")
    wait_until(lambda: slurm.ask("squeue", "-h", f"--jobs={job}", "--format=%T") == "RUNNING", "the job")
    yield job
    slurm.cancel_jobs()


@pytest.mark.parametrize("verb", ["status", "kubeconfig", "down"])
def test_an_unknown_job_is_refused(verbs: Clusters, verb: str) -> None:
    code, said = verbs.refused(verb, "--cluster", "987654")
    assert (code, "there is no job 987654" in said) == (2, True)


def test_a_job_that_is_no_cluster_is_refused(verbs: Clusters, slurm: Slurm, sleeper: str) -> None:
    code, said = verbs.refused("status", "--cluster", sleeper)
    assert (code, f"job {sleeper} has no cluster" in said) == (2, True)
    slurm.ask("scancel", sleeper)
    verbs.ended(sleeper)
    code, said = verbs.refused("status", "--cluster", sleeper)
    assert (code, f"job {sleeper} has ended: cancelled" in said) == (2, True)


def test_a_job_that_waits_in_the_queue_says_why(verbs: Clusters, slurm: Slurm) -> None:
    job = slurm.ask("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap", "true")
    code, said = verbs.refused("status", "--cluster", job)
    slurm.cancel_jobs()
    assert (code, "has not started (it is in the state PENDING (JobHeldUser" in said) == (2, True)


def test_more_nodes_than_there_are_hosts_are_refused(verbs: Clusters) -> None:
    code, said = verbs.refused("up", "--launcher", "slurm", "--nodes", "9")
    assert (code, "sbatch" in said) == (2, True)
    assert "not available" in said or "Node count" in said or "More processors" in said


def test_a_partition_that_is_not_there_is_refused(verbs: Clusters) -> None:
    code, said = verbs.refused("up", "--launcher", "slurm", "--nodes", "1", "--queue", "nowhere")
    assert (code, "invalid partition" in said) == (2, True)


def test_job_outside_a_job_is_refused_with_what_to_do(verbs: Clusters) -> None:
    code, said = verbs.refused("job")
    assert (code, "not inside a" in said, "sbatch -N4" in said) == (2, True, True)


def test_a_mistake_in_the_script_is_the_jobs_failure_and_leaves_nothing(verbs: Clusters) -> None:
    job = verbs.submit("--nodes=2", job=("--set", "nods=2"))
    assert verbs.ended(job) == "2:0"
    assert "nods" in verbs.output(job)
    verbs.nothing_left()


def test_a_missing_bundle_is_the_jobs_failure_and_leaves_nothing(verbs: Clusters) -> None:
    job = verbs.submit("--nodes=2")
    assert verbs.ended(job) == "1:0"
    assert "/var/lib/no bundle" in verbs.output(job)
    verbs.nothing_left()


def test_more_nodes_than_the_job_has_are_refused(verbs: Clusters) -> None:
    job = verbs.submit("--nodes=2", job=("--nodes", "3"))
    assert verbs.ended(job) == "2:0"
    assert "3 nodes were asked for, the Slurm job has 2" in verbs.output(job)


def test_an_array_is_several_clusters_each_with_its_own_id(verbs: Clusters, slurm: Slurm) -> None:
    job = slurm.ask("sbatch", "--parsable", "--array=1-2", "--nodes=1", "--output=/dev/null", "--wrap", "sleep 60")
    code, said = verbs.refused("status", "--cluster", job)
    assert (code, "name one of them" in said) == (2, True)
    code, said = verbs.refused("status", "--cluster", f"{job}_2")
    slurm.cancel_jobs()
    assert (code, f"{job}_2" in said) == (2, True)


def test_a_controller_that_does_not_answer_is_said(verbs: Clusters, slurm: Slurm) -> None:
    broken = slurm.root / "broken.conf"
    broken.write_text((slurm.root / "slurm.conf").read_text() + "SlurmctldPort=6899\n")
    code, said = verbs.refused("status", "--cluster", "1", env={"SLURM_CONF": str(broken)})
    assert (code, "Unable to contact slurm controller" in said) == (1, True)


def test_another_users_job_is_refused(verbs: Clusters, slurm: Slurm) -> None:
    wrap = ["sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 60"]
    job = slurm.run(wrap, user="root").stdout.strip()
    wait_until(lambda: slurm.ask("squeue", "-h", f"--jobs={job}", "--format=%T") == "RUNNING", "the job")
    code, said = verbs.refused("status", "--cluster", job)
    slurm.run(["scancel", job], user="root")
    assert (code, f"job {job} belongs to another user (uid 0)" in said) == (2, True)
