"""A job with a part of a host: its pods have the job's CPUs, memory and devices, and nothing of another job's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flux.machines import wait_until
from tests.slurm.clusters import Clusters
from tests.slurm.instance import CPUS, GPUS

MEMORY = 1500  # MiB
POD = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0}


@pytest.fixture(scope="module")
def job(clusters: Clusters) -> Iterator[str]:
    """A cluster on one CPU and one GPU of a host whose first ones are another job's."""
    slurm = clusters.slurm
    shape = ["--nodes=1", "--nodelist=sl0", "--oversubscribe", "--ntasks-per-node=1"]
    other = slurm.ask(
        "sbatch", "--parsable", *shape, f"--cpus-per-task={CPUS - 1}", "--mem=100", f"--gres=gpu:{GPUS - 1}",
        "--output=/dev/null", "--wrap=sleep 600",
    )  # fmt: skip
    wait_until(lambda: clusters.state(other) == "RUNNING", "the other job", 30)
    options = [*shape, "--cpus-per-task=1", f"--mem={MEMORY}", "--gres=gpu:1,nic"]
    devices = {"name": "cards", "paths": [f"{slurm.root}/dev/gpu*"], "count": 1}
    spec = slurm.root / "output" / "devices.yaml"
    spec.write_text(json.dumps({"apiVersion": "usernetes.dev/v1alpha1", "kind": "Cluster", "devices": [devices]}))
    spec.chmod(0o644)
    yield clusters.ready(clusters.submit(*options, job=("--file", str(spec))))
    slurm.cancel_jobs()
    clusters.nothing_left()


def gres_of(clusters: Clusters, job: str) -> str:
    """All that Slurm says of the job."""
    return clusters.slurm.ask("scontrol", "--oneliner", "show", "job", "--details", job)


def cpu_and_gpu(clusters: Clusters, job: str) -> tuple[str, str]:
    """What Slurm says of the job's part of the host: its CPU, the number of its GPU."""
    line = gres_of(clusters, job)
    found = re.search(r" CPU_IDs=(\d+) .* GRES=gpu:1\(IDX:(\d)\)", line)
    assert found, line
    return found[1], found[2]


def test_the_node_offers_what_the_job_has(clusters: Clusters, job: str) -> None:
    def offered() -> dict[str, Any]:
        [node] = json.loads(clusters.usernetes("kubectl", "--cluster", job, "get", "nodes", "-o", "json"))["items"]
        found: dict[str, Any] = node["status"]["allocatable"]
        return found

    def devices() -> dict[str, Any]:
        return {name: count for name, count in offered().items() if name.startswith("usernetes.dev/")}

    assert offered()["cpu"] == "1"
    assert offered()["memory"] == f"{MEMORY}Mi"
    # The kubelet learns of devices one after the other, and tells the API in its next report.
    wait_until(lambda: len(devices()) == 3, f"three kinds of devices of the job: {gres_of(clusters, job)}", 30)
    assert devices() == {"usernetes.dev/gpu": "1", "usernetes.dev/nic": "1", "usernetes.dev/cards": "1"}


@pytest.mark.parametrize("runtime", ["mesh", "native"])
def test_pods_are_held_to_the_jobs_cpus_and_see_its_devices_alone(clusters: Clusters, job: str, runtime: str) -> None:
    slurm = clusters.slurm
    cpu, index = cpu_and_gpu(clusters, job)
    status = json.loads(clusters.usernetes("status", "--cluster", job, "--json"))
    image = next(name for name in status["nodes"][0]["images"] if "/busybox:" in name)
    look = f"grep Cpus_allowed_list /proc/self/status; ls {slurm.root}/dev; head -c 4 {slurm.root}/dev/gpu* | wc -c"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"held-{runtime}"},
        "spec": {
            **POD,
            **({"runtimeClassName": "native", "hostNetwork": True} if runtime == "native" else {}),
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": ["sh", "-c", look],
                    "resources": {"limits": {"usernetes.dev/gpu": 1, "usernetes.dev/nic": 1}},
                }
            ],
        },
    }
    kubectl = ["usernetes", "kubectl", "--cluster", job]
    done = slurm.run([*kubectl, "create", "-f", "-"], stdin=json.dumps(pod))
    assert done.returncode == 0, done.stderr
    slurm.ask(*kubectl, "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/held-{runtime}", "--timeout=60s")
    printed = clusters.usernetes("kubectl", "--cluster", job, "logs", f"held-{runtime}").split()
    clusters.usernetes("kubectl", "--cluster", job, "delete", "pod", f"held-{runtime}")
    assert printed == ["Cpus_allowed_list:", cpu, f"gpu{index}", "nic0", "4"]


def test_what_another_job_has_is_not_offered_by_the_spec_either(clusters: Clusters, job: str) -> None:
    _, index = cpu_and_gpu(clusters, job)
    log = clusters.usernetes("logs", "--cluster", job, "--component", "devices")
    folder = Path(clusters.slurm.root) / "dev"
    assert f"usernetes.dev/cards: {folder}/gpu{index}\n" in log + "\n"
