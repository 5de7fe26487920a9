"""Clusters in Flux jobs, for real: submitted by the job script, used from the login host, ended in every way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flux.clusters import NODE_FOLDERS, Clusters
from tests.flux.instance import Instance
from tests.flux.machines import UID, wait_until

pytestmark = pytest.mark.cluster

WORKFLOW = """#!/bin/sh
echo "arguments: $# [$1] [$2]"
echo "folder: $(basename "$PWD")"
kubectl get nodes --output=name
echo "kubeconfig: $(stat -c %a "$KUBECONFIG")"
exit 7
"""
PATIENT_POD = """
apiVersion: v1
kind: Pod
metadata: {name: patient}
spec:
  terminationGracePeriodSeconds: 15
  containers:
  - name: main
    image: IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.2; done"]
"""


@pytest.fixture
def folder(instance: Instance) -> Path:
    """A directory of the user's that all hosts see, with spaces and letters of another alphabet in its path."""
    made = instance.root / "ein Ort für Läufe"
    made.mkdir(exist_ok=True)
    os.chown(made, UID, UID)
    return made


def test_a_workflow_gets_its_cluster_and_its_exit_code_is_the_jobs(clusters: Clusters, folder: Path) -> None:
    workflow = folder / "mein Lauf ü.sh"
    workflow.write_text(WORKFLOW)
    workflow.chmod(0o755)
    job = clusters.submit("-N3", "--job-name=Jöb eins", job=("--", f"./{workflow.name}", "a b", "ü"), cwd=str(folder))
    assert clusters.ended(job) == 7
    printed = clusters.output(job)
    assert "arguments: 2 [a b] [ü]" in printed
    assert f"folder: {folder.name}" in printed
    assert all(f"node/{host}" in printed for host in clusters.instance.members)
    assert "kubeconfig: 600" in printed
    assert clusters.job(job)["name"] == "Jöb eins"
    assert sorted(path.name for path in folder.glob("usernetes-job-*-logs/*")) == ["fl0.log", "fl1.log", "fl2.log"]
    clusters.nothing_left()


def status(clusters: Clusters, job: str) -> dict[str, Any]:
    """``usernetes status --json``, whether it is well or not."""
    return dict(json.loads(clusters.instance.run(["usernetes", "status", "--cluster", job, "--json"]).stdout))


def kill_broker(clusters: Clusters, job: str, rank: int) -> None:
    """End a broker of a job as a crash does."""
    within = {"FLUX_URI": clusters.instance.ask("flux", "uri", job)}
    pid = int(clusters.instance.ask("flux", "exec", "-r", str(rank), "flux", "getattr", "broker.pid", env=within))
    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="class")
def held(clusters: Clusters) -> Iterator[str]:
    """A cluster that is only held, on one core of each host."""
    job = clusters.ready(clusters.submit("-N3", "-n3", "-c1"))
    yield job
    clusters.instance.run(["flux", "cancel", job])
    clusters.nothing_left()


class TestOneThatIsHeld:
    """A cluster without a workflow, which lasts until its job is ended."""

    def test_the_login_host_reaches_a_cluster_by_any_spelling_of_its_job(self, clusters: Clusters, held: str) -> None:
        number = clusters.instance.ask("flux", "job", "id", "--to=dec", held)
        for spelling in (held, held.replace("ƒ", "f"), number):
            said = json.loads(clusters.usernetes("status", "--cluster", spelling, "--json"))
            assert said["healthy"]
            assert [node["name"] for node in said["nodes"]] == ["fl0", "fl1", "fl2"]
        assert clusters.usernetes("kubectl", "--cluster", held, "get", "nodes", "--output=name").split() == [
            "node/fl0",
            "node/fl1",
            "node/fl2",
        ]
        kubeconfig = clusters.usernetes("kubeconfig", "--cluster", held)
        assert clusters.instance.ask("stat", "-c", "%a", kubeconfig) == "600"
        assert "kubelet" in clusters.usernetes("logs", "--cluster", held, "--node", "fl2", "--lines", "3")
        assert [item["name"] for item in json.loads(clusters.usernetes("list", "--json"))] == [f"job-{number}"]

    def test_the_record_of_a_cluster_is_not_for_other_users(self, clusters: Clusters, held: str) -> None:
        namespaces = clusters.instance.ask("flux", "kvs", "namespace", "list")
        number = clusters.instance.ask("flux", "job", "id", "--to=dec", held)
        owner = next(line.split()[1] for line in namespaces.splitlines() if line.startswith(f"job-{number} "))
        assert owner == str(UID)
        assert "PRIVATE" not in clusters.instance.ask("flux", "job", "info", held, "eventlog")
        assert "PRIVATE" in clusters.instance.ask("flux", "job", "info", held, "guest.usernetes.cluster")

    def test_two_jobs_share_the_hosts_and_a_lost_broker_harms_only_its_own(self, clusters: Clusters, held: str) -> None:
        other = clusters.ready(clusters.submit("-N3", "-n3", "-c1"))
        try:
            said = json.loads(clusters.usernetes("status", "--cluster", other, "--json"))
            folder = next(node["directory"] for node in said["nodes"] if node["name"] == "fl2")
            kill_broker(clusters, other, 2)

            def gone() -> bool:
                done = clusters.instance.run(["usernetes", "status", "--cluster", other])
                return done.returncode == 1 and "the Flux broker of rank 2 is lost; it is removed when" in done.stdout

            wait_until(gone, "word of the lost broker", 30)
            get_nodes = ["kubectl", "--cluster", other, "get", "nodes", "--output=name"]
            wait_until(lambda: clusters.usernetes(*get_nodes).split() == ["node/fl0", "node/fl1"], "its removal", 120)
            assert "fl2 is lost: the Flux broker of rank 2 is lost" in clusters.output(other)
            wait_until(
                lambda: [loss["action"] for loss in status(clusters, other)["losses"]] == ["removed"], "the word"
            )
            assert [len(node["network"]["peers"]) for node in status(clusters, other)["nodes"]] == [1, 1]
            assert json.loads(clusters.usernetes("status", "--cluster", held, "--json"))["healthy"]
            left = clusters.instance.job_processes("fl2")
            assert not [line for line in left if folder in line]
            assert clusters.instance.run(["ls", folder], at="fl2").returncode, "its folder is there"
        finally:
            clusters.instance.run(["flux", "cancel", other])
        assert clusters.ended(other) != 0
        assert json.loads(clusters.usernetes("status", "--cluster", held, "--json"))["healthy"]


def test_a_free_host_of_the_job_takes_the_place_of_a_lost_one_and_its_pods_move(clusters: Clusters) -> None:
    job = clusters.ready(clusters.submit("-N3", job=("--nodes", "2", "--replace-lost")))
    image = next(
        name for name in json.loads((clusters.bundle / "manifest.json").read_text())["images"] if "busy" in name
    )
    manifest = clusters.instance.root / "moving.json"
    manifest.write_text(json.dumps(moving(image)))
    clusters.usernetes("kubectl", "--cluster", job, "apply", "-f", str(manifest))
    clusters.usernetes("kubectl", "--cluster", job, "rollout", "status", "deployment/moving", "--timeout=60s")
    before = status(clusters, job)
    assert [node["name"] for node in before["nodes"]] == ["fl0", "fl1"]
    kill_broker(clusters, job, 1)
    began = time.monotonic()

    def replaced() -> bool:
        return [loss["action"] for loss in status(clusters, job)["losses"]] == ["replaced"]

    wait_until(replaced, "the replacement", 180)
    took = time.monotonic() - began
    after = status(clusters, job)
    print(f"fl1 was replaced {took:.0f} s after its broker was killed")
    assert after["healthy"], after
    assert [(node["name"], node["nodeIP"]) for node in after["nodes"]] == [
        ("fl0", before["nodes"][0]["nodeIP"]),
        ("fl2", before["nodes"][1]["nodeIP"]),
    ]
    (loss,) = after["losses"]
    assert (loss["node"], loss["by"]) == ("fl1", ["fl2"])
    assert loss["seen"] <= loss["acted"]
    said = clusters.instance.run(["usernetes", "status", "--cluster", job])
    assert (said.returncode, "lost: fl1 at " in said.stdout) == (0, True)
    clusters.usernetes("kubectl", "--cluster", job, "rollout", "status", "deployment/moving", "--timeout=90s")
    pods = clusters.usernetes("kubectl", "--cluster", job, "get", "pods", "--output=jsonpath={.items[*].spec.nodeName}")
    assert sorted(pods.split()) == ["fl0", "fl2"]
    clusters.usernetes("down", "--cluster", job)
    assert clusters.ended(job) == 128 + signal.SIGKILL  # what Flux says of a job one of whose brokers was killed
    assert "all pods have ended" in clusters.output(job)
    assert "2 nodes stopped, nothing left" in clusters.output(job)
    clusters.nothing_left()


def moving(image: str) -> dict[str, Any]:
    """A Deployment of two pods that do not share a node."""
    apart = {"labelSelector": {"matchLabels": {"app": "moving"}}, "topologyKey": "kubernetes.io/hostname"}
    command = ["sh", "-c", "trap exit TERM; sleep 36000 & wait"]
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": command}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "moving"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "moving"}},
            "template": {
                "metadata": {"labels": {"app": "moving"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
                    "containers": [container],
                },
            },
        },
    }


def test_down_from_the_login_host_ends_pods_and_job_in_order(clusters: Clusters) -> None:
    job = clusters.ready(clusters.submit("-N2"))
    assert clusters.usernetes("down", "--cluster", job) == ""
    assert clusters.ended(job) == 0
    assert "all pods have ended" in clusters.output(job)
    assert "nothing left" in clusters.output(job)
    clusters.nothing_left()
    code, said = clusters.refused("status", "--cluster", job)
    assert (code, "has ended" in said) == (2, True)


def test_cancel_leaves_nothing(clusters: Clusters) -> None:
    job = clusters.ready(clusters.submit("-N3"))
    began = time.monotonic()
    clusters.instance.ask("flux", "cancel", job)
    clusters.nothing_left()
    assert time.monotonic() - began < 10
    assert clusters.ended(job) != 0
    with pytest.raises(AssertionError, match="not found"):
        clusters.instance.ask("flux", "job", "info", job, "guest.usernetes.cluster")


def test_cancel_in_the_middle_of_the_bring_up_leaves_nothing(clusters: Clusters) -> None:
    job = clusters.submit("-N3")
    wait_until(lambda: "start the nodes" in clusters.output(job), "the start of the nodes", 60)
    clusters.instance.ask("flux", "cancel", job)
    clusters.ended(job)
    clusters.nothing_left()


def test_before_the_time_limit_pods_end_in_order_and_logs_are_kept(clusters: Clusters, folder: Path) -> None:
    job = clusters.ready(clusters.submit("-N2", "--time-limit=150s", job=("--notice", "100"), cwd=str(folder)))
    image = next(iter(json.loads((clusters.bundle / "manifest.json").read_text())["images"]))
    manifest = folder / "pod.json"
    manifest.write_text(PATIENT_POD.replace("IMAGE", image))
    clusters.usernetes("kubectl", "--cluster", job, "apply", "-f", str(manifest))
    clusters.usernetes("kubectl", "--cluster", job, "wait", "--for=condition=Ready", "pod/patient", "--timeout=60s")
    assert clusters.ended(job, 200) == 0
    said = clusters.job(job)
    assert said["result"] == "COMPLETED"
    assert "all pods have ended" in clusters.output(job)
    number = clusters.instance.ask("flux", "job", "id", "--to=dec", job)
    assert (folder / f"usernetes-job-{number}-logs" / "fl0.log").stat().st_size > 0
    clusters.nothing_left()


def test_up_outside_a_job_submits_one_and_follows_it(clusters: Clusters) -> None:
    words = ["up", "--launcher", "flux", "--nodes", "2", "--time", "10m", "--set", f"bundle={clusters.bundle}"]
    done = clusters.instance.run(["usernetes", *words], timeout=200)
    assert done.returncode == 0, done.stderr
    kubeconfig = done.stdout.strip()
    kubectl = [f"{clusters.bundle}/bin/kubectl", f"--kubeconfig={kubeconfig}", "get", "nodes", "--output=name"]
    assert clusters.instance.ask(*kubectl).split() == ["node/fl0", "node/fl1"]
    job = clusters.instance.ask("flux", "job", "last")
    assert f"job {job} was submitted" in done.stderr
    assert clusters.job(job)["duration"] == 600
    clusters.usernetes("down", "--cluster", job)
    clusters.nothing_left()


def test_a_job_in_a_job_is_a_cluster_as_well(clusters: Clusters) -> None:
    inner = f"flux batch -N2 --output=kvs {clusters.script} --set bundle={clusters.bundle}; flux queue drain"
    outer = clusters.instance.ask("flux", "batch", "-N3", "--output=kvs", "--wrap", inner)
    try:
        listed: list[dict[str, object]] = []

        def found() -> bool:
            listed[:] = json.loads(clusters.usernetes("list", "--json"))
            return bool(listed)

        wait_until(found, "the inner cluster", 180)
        within = {"FLUX_URI": clusters.instance.ask("flux", "uri", outer)}
        job = clusters.instance.ask("flux", "job", "last", env=within)
        said = json.loads(clusters.usernetes("status", "--cluster", f"{outer}/{job}", "--json"))
        assert said["healthy"]
        assert len(said["nodes"]) == 2
    finally:
        clusters.instance.run(["flux", "cancel", outer])
    clusters.ended(outer)
    clusters.nothing_left()


def test_a_bundle_on_one_host_alone_travels_to_the_others(clusters: Clusters) -> None:
    here = "/var/tmp/of this host ü"
    clusters.instance.ask("cp", "-r", str(clusters.bundle), here, at="fl0")
    for host in clusters.instance.members:
        clusters.instance.ask("rm", "-rf", NODE_FOLDERS, at=host)
    argv = ["flux", "batch", "--output=kvs", "-N2", clusters.script, "--set", f"bundle={here}", "--", "true"]
    job = clusters.instance.ask(*argv)
    assert clusters.ended(job, 200) == 0
    assert "2 sent" in clusters.output(job) or "1 sent" in clusters.output(job)
    clusters.instance.ask("rm", "-rf", here, at="fl0")
    clusters.nothing_left()


def test_a_cluster_grows_into_a_further_job_and_gives_it_back(clusters: Clusters) -> None:
    cluster = clusters.ready(clusters.submit("-N1", "-n1", "-c1"))
    assert clusters.instance.ask("usernetes", "add", "--cluster", cluster, timeout=200) == "fl1"
    assert [
        node["name"] for node in json.loads(clusters.usernetes("status", "--cluster", cluster, "--json"))["nodes"]
    ] == [
        "fl0",
        "fl1",
    ]
    join = clusters.instance.ask("flux", "jobs", "--no-header", "--name=usernetes-join", "--format={id}").split()
    assert len(join) == 1
    assert f"holds fl1 for the cluster of job {cluster}" in clusters.output(join[0])
    clusters.usernetes("remove", "fl1", "--cluster", cluster)
    assert clusters.ended(join[0]) == 0
    assert clusters.usernetes("kubectl", "--cluster", cluster, "get", "nodes", "--output=name") == "node/fl0"
    clusters.usernetes("down", "--cluster", cluster)
    clusters.nothing_left()


def test_hosts_are_held_by_a_job_of_the_users_own_until_the_cluster_is_ended_by_another(clusters: Clusters) -> None:
    cluster = clusters.ready(clusters.submit("-N1", "-n1", "-c1"))
    root = clusters.instance.root
    join = clusters.instance.ask("flux", "batch", "-N2", "--output=kvs", f"{root}/usernetes-join.sh", cluster)
    wait_until(lambda: "holds fl[1-2]" in clusters.output(join), "the held hosts", 60)
    down = clusters.instance.ask("flux", "batch", "--output=kvs", f"{root}/usernetes-down.sh", cluster)
    assert clusters.ended(cluster) == 0
    assert clusters.ended(join) == 0
    assert clusters.ended(down) == 0, clusters.output(down)
    clusters.nothing_left()
