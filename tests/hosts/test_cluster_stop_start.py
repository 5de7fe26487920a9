"""A cluster is stopped and started, also after its host went down: it is the same one, with its objects and volumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.hosts.clusters import BUSYBOX, Account, Cluster, bring_up, wait_for

pytestmark = pytest.mark.cluster
NAME = "stopping"


@pytest.fixture(scope="module")
def stopping(account: Account) -> Iterator[Cluster]:
    """Two nodes, a workload that writes to a volume at each of its starts, a Secret, a Service."""
    made = bring_up(account, NAME, "--nodes", "2")
    made.apply(*workload(made))
    wait_for(lambda: starts(made) == 1, "the pod has written to its volume")
    yield made
    assert account.usernetes("down", "--cluster", NAME).returncode == 0


def workload(cluster: Cluster) -> list[dict[str, Any]]:
    """The objects; the pod stays on the worker, so that its volume is not on the first node."""
    image = next(name for name in cluster.status()["nodes"][0]["images"] if name.startswith(BUSYBOX))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    pod = {
        "nodeSelector": {"kubernetes.io/hostname": "node1"},
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "web",
                "image": image,
                "command": ["sh", "-c", "echo started >> /data/log; exec sleep 100000"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    labels = {"app": "web"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kept"}, "stringData": {"word": "hush"}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
    ]


def starts(cluster: Cluster) -> int:
    """How often the pod has started, as its volume says."""
    done = cluster.usernetes("kubectl", "exec", "deployment/web", "--", "cat", "/data/log")
    return done.stdout.count("started")


def identity(cluster: Cluster) -> dict[str, Any]:
    """What makes it the same cluster."""
    namespace = cluster.get("namespace", "kube-system")["metadata"]["uid"]
    addresses = {item["name"]: (item["address"], item["nodeIP"]) for item in cluster.status()["nodes"]}
    return {
        "uid": namespace,
        "nodes": addresses,
        "node objects": {item["metadata"]["name"]: item["metadata"]["uid"] for item in cluster.get("nodes")["items"]},
        "server": cluster.record()["server"],
        "service": cluster.get("service", "web")["spec"]["clusterIP"],
        "secret": cluster.get("secret", "kept")["data"],
        "volume": cluster.get("pvc", "data")["spec"]["volumeName"],
        "kubeconfig": (cluster.account.state / cluster.name / "kubeconfig").read_bytes(),
    }


def token(cluster: Cluster) -> str:
    return cluster.kubectl("create", "token", "default", "--duration=1h").strip()


def accepted(cluster: Cluster, word: str) -> bool:
    """Whether the API knows who has this token."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {"name": "review"},
        "spec": {"token": word},
    }
    answer = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)))
    return bool(answer["status"].get("authenticated"))


def start(cluster: Cluster) -> None:
    done = cluster.usernetes("start")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(cluster.account.state / NAME / "kubeconfig")


def test_a_stopped_cluster_has_no_processes_and_says_what_to_do(stopping: Cluster) -> None:
    before, word = identity(stopping), token(stopping)
    folders = [Path(member["directory"]) for member in stopping.record()["members"]]
    done = stopping.usernetes("stop")
    assert (done.returncode, done.stdout.split()) == (0, ["node0", "node1"]), done.stderr
    assert stopping.account.processes() == {}
    assert all((folder / "containerd").is_dir() for folder in folders)

    found = stopping.status()
    schema = json.loads(resources.files("usernetes_deploy").joinpath("cluster/schema/status.json").read_text())
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(found)
    assert (found["phase"], [node["state"] for node in found["nodes"]]) == ("stopped", ["stopped", "stopped"])
    assert "stopped, " in stopping.usernetes("status").stdout
    assert f"{NAME}  stopped" in stopping.account.usernetes("list").stdout
    for words in (["kubectl", "get", "nodes"], ["add", "--nodes", "1"], ["remove", "node1"], ["up"], ["renew"]):
        done = stopping.usernetes(*words)
        assert done.returncode == 2, words
        assert f"fix: usernetes start --cluster {NAME}" in done.stderr, words
    assert stopping.usernetes("stop").returncode == 0  # once more

    start(stopping)
    assert stopping.status()["healthy"]
    assert identity(stopping) == before
    wait_for(lambda: starts(stopping) == 2, "the pod has started again, with its volume")
    assert accepted(stopping, word)
    again = stopping.usernetes("start")
    assert (again.returncode, "runs already" in again.stderr) == (0, True)


def test_a_cluster_whose_host_went_down_is_started(stopping: Cluster) -> None:
    before, count = identity(stopping), starts(stopping)
    for node in stopping.status()["nodes"]:
        os.kill(node["keeper"], signal.SIGKILL)  # with it the kernel ends all of the node at once
    wait_for(lambda: not stopping.account.processes(), "all processes are gone")
    for folder in (Path(member["directory"]) for member in stopping.record()["members"]):
        shutil.rmtree(folder / "rk", ignore_errors=True)  # sockets and pids: of no use to anybody any more
    assert f"fix: usernetes start --cluster {NAME}" in stopping.usernetes("status").stdout
    start(stopping)
    assert identity(stopping) == before
    wait_for(lambda: starts(stopping) > count, "the pod has started again, with its volume")


def test_where_one_node_is_gone_and_others_run_the_user_chooses(stopping: Cluster) -> None:
    keeper = next(node["keeper"] for node in stopping.status()["nodes"] if node["name"] == "node1")
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: not stopping.pids("rootlesskit", 1), "the node is gone")
    done = stopping.usernetes("start")
    assert done.returncode == 1
    assert "node1 ended, the other nodes run" in done.stderr
    assert f"fix: usernetes stop --cluster {NAME}, then usernetes start" in done.stderr
    assert stopping.usernetes("stop").returncode == 0
    start(stopping)


def test_a_start_that_fails_leaves_a_stopped_cluster_that_can_be_started(stopping: Cluster) -> None:
    assert stopping.usernetes("stop").returncode == 0
    data = stopping.node_folder() / "etcd"
    data.rename(data.with_name("elsewhere"))
    done = stopping.usernetes("start")
    assert done.returncode == 1
    assert "the cluster's data is gone" in done.stderr
    data.with_name("elsewhere").rename(data)

    containerd = stopping.node_folder(1) / "containerd"
    containerd.rename(containerd.with_name("elsewhere"))
    containerd.write_text("no folder")  # containerd cannot start
    done = stopping.usernetes("start")
    assert done.returncode == 1, done.stderr
    assert "node1" in done.stderr
    assert "the cluster is stopped again" in done.stderr
    assert stopping.account.processes() == {}
    assert stopping.status()["phase"] == "stopped"
    containerd.unlink()
    containerd.with_name("elsewhere").rename(containerd)
    start(stopping)
    assert stopping.status()["healthy"]


def test_what_a_stop_would_lose_is_refused(account: Account) -> None:
    made = bring_up(account, "forgetful", "--durability", "memory", "--no-wait")
    try:
        done = made.usernetes("stop")
        assert done.returncode == 2
        assert "keeps its data in memory" in done.stderr
        assert made.usernetes("kubectl", "get", "nodes").returncode == 0
    finally:
        assert account.usernetes("down", "--cluster", "forgetful").returncode == 0


def test_down_of_a_stopped_cluster_leaves_nothing(stopping: Cluster) -> None:
    assert stopping.usernetes("stop").returncode == 0
    folders = [Path(member["directory"]) for member in stopping.record()["members"]]
    done = stopping.account.usernetes("down", "--cluster", NAME)
    assert done.returncode == 0, done.stderr
    assert not any(folder.exists() for folder in folders)
    assert not (stopping.account.state / NAME).exists()
    assert stopping.account.processes() == {}
