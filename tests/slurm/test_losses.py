"""Hosts that Slurm loses under a cluster, and jobs that it starts once more."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.flux.machines import wait_until
from tests.slurm.clusters import Clusters


def status(clusters: Clusters, job: str) -> dict[str, Any]:
    """What `usernetes status --json` says, healthy or not."""
    done = clusters.slurm.run(["usernetes", "status", "--cluster", job, "--json"], timeout=120)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_free_host_of_the_job_takes_the_place_of_one_that_slurm_lost(clusters: Clusters) -> None:
    slurm = clusters.slurm
    job = clusters.ready(clusters.submit("--nodes=3", job=("--nodes", "2", "--replace-lost")))
    before = status(clusters, job)["nodes"]
    assert [node["name"] for node in before] == ["sl0", "sl1"]
    slurm.lose("sl1")
    began = time.monotonic()
    try:
        wait_until(
            lambda: [loss["action"] for loss in status(clusters, job)["losses"]] == ["replaced"], "its replacement", 180
        )
        print(f"sl1 was replaced {time.monotonic() - began:.0f} s after its slurmd was killed")
        after = status(clusters, job)
        assert after["healthy"], after
        assert [(node["name"], node["nodeIP"]) for node in after["nodes"]] == [
            ("sl0", before[0]["nodeIP"]),
            ("sl2", before[1]["nodeIP"]),
        ]
        (loss,) = after["losses"]
        assert (loss["node"], loss["by"]) == ("sl1", ["sl2"])
        assert "sl1 is lost: Slurm" in clusters.output(job)
        assert clusters.state(job) == "RUNNING"
    finally:
        slurm.start_slurmd("sl1")
    # The host is back, but no longer of this job.
    wait_until(lambda: slurm.ask("sinfo", "-h", "-N", "--nodes=sl1", "--format=%T").split()[0] == "idle", "sl1", 60)
    assert slurm.ask("squeue", "-h", f"--jobs={job}", "--format=%N") == "sl[0,2]"
    assert status(clusters, job)["healthy"]
    clusters.usernetes("down", "--cluster", job)
    assert clusters.ended(job) == "0:0", clusters.output(job)
    clusters.nothing_left()


def test_a_requeued_job_is_a_new_cluster(clusters: Clusters) -> None:
    slurm = clusters.slurm
    job = clusters.ready(clusters.submit("--nodes=2", "--requeue"))
    kubectl = ["kubectl", "--cluster", job]
    first = clusters.usernetes(*kubectl, "get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    clusters.usernetes(*kubectl, "create", "configmap", "mine")
    slurm.ask("scontrol", "requeue", job)
    wait_until(lambda: clusters.state(job) == "PENDING", "the queue", 30)
    clusters.nothing_left()
    code, said = clusters.refused("status", "--cluster", job)
    assert (code, f"job {job} has not started" in said) == (2, True), said
    assert f"job-{job}" not in clusters.usernetes("list")
    wait_until(lambda: clusters.state(job) == "RUNNING", "its second start", 180)
    clusters.ready(job)
    second = clusters.usernetes(*kubectl, "get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    assert first != second
    assert status(clusters, job)["healthy"]
    assert "mine" not in clusters.usernetes(*kubectl, "get", "configmaps", "--output=name")
    slurm.ask("scancel", job)
    clusters.nothing_left()
