"""Whatever dies on a node is started again, its reason is told, and no Kubernetes object is lost."""

from __future__ import annotations

import json
import os
import signal
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.hosts.clusters import Cluster, namespace_of, pid_namespace, wait_for

pytestmark = pytest.mark.cluster
CONTROL_PLANE = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns"]
CONTROL_PLANE += ["local-path-provisioner", "metrics-server"]
EVERYWHERE = ["mesh", "containerd", "kubelet", "kube-proxy"]


def marker(component: str) -> str:
    """What is on the command line of a component and of nothing else."""
    return {"mesh": "/bin/usernetes-mesh", "containerd": "/bin/containerd --config"}.get(
        component, f"/bin/{component} "
    )


def healthy(cluster: Cluster) -> bool:
    return bool(cluster.usernetes("status", "--json").returncode == 0)


def remember(cluster: Cluster, word: str) -> None:
    """An object that must still be there afterwards."""
    wait_for(
        lambda: cluster.usernetes(
            "kubectl", "create", "configmap", f"kept-{word}", f"--from-literal=word={word}"
        ).returncode == 0,
        "the API takes an object",
    )  # fmt: skip


def kept(cluster: Cluster) -> dict[str, str]:
    items = cluster.get("configmaps")["items"]
    return {i["metadata"]["name"]: i["data"]["word"] for i in items if i["metadata"]["name"].startswith("kept-")}


def test_status_is_as_its_schema_says(cluster: Cluster) -> None:
    schema = json.loads(resources.files("usernetes_deploy").joinpath("cluster/schema/status.json").read_text())
    found = cluster.status()
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(found)
    assert found["healthy"]
    assert [item["name"] for item in found["nodes"][0]["components"]] == CONTROL_PLANE + EVERYWHERE
    assert [item["name"] for item in found["nodes"][1]["components"]] == EVERYWHERE


def kill_and_see(cluster: Cluster, component: str, node: int) -> None:
    before = cluster.component(component, node)
    pids = cluster.pids(marker(component), node)
    assert len(pids) == 1, (component, pids)
    os.kill(pids[0], signal.SIGKILL)

    def again() -> bool:
        now = cluster.component(component, node)
        return now["restarts"] == before["restarts"] + 1 and now["state"] == "running" and bool(now["pid"])

    wait_for(again, f"{component} runs again")
    assert cluster.component(component, node)["lastExit"] == "killed by SIGKILL"


@pytest.mark.parametrize("component", CONTROL_PLANE)
def test_a_killed_part_of_the_control_plane_comes_back(cluster: Cluster, component: str) -> None:
    remember(cluster, component)
    kill_and_see(cluster, component, 0)
    wait_for(lambda: cluster.usernetes("kubectl", "get", "nodes").returncode == 0, "the API answers")
    assert kept(cluster)[f"kept-{component}"] == component


@pytest.mark.parametrize("component", EVERYWHERE)
def test_a_killed_part_of_a_worker_comes_back_and_its_pods_stay(cluster: Cluster, component: str) -> None:
    image = next(name for name in cluster.status()["nodes"][1]["images"] if "/busybox:" in name)
    name = f"stays-{component}"
    container = {"name": "main", "image": image, "command": ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [container]},
        }
    )
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    identity = cluster.get("pod", name)["status"]["containerStatuses"][0]["containerID"]
    kill_and_see(cluster, component, 1)
    wait_for(lambda: cluster.usernetes("kubectl", "exec", name, "--", "true").returncode == 0, "exec works again")
    assert cluster.get("pod", name)["status"]["containerStatuses"][0]["containerID"] == identity
    cluster.kubectl("delete", "pod", name, "--wait=false")


def node(cluster: Cluster, index: int) -> dict[str, Any]:
    return dict(cluster.status()["nodes"][index])


def victims(cluster: Cluster, what: str, index: int) -> list[int]:
    """The process of a node outside or at the root of its PID namespace."""
    folder = cluster.node_folder(index)
    if what == "supervisor":
        inside = pid_namespace(folder)
        return [
            pid
            for pid, words in cluster.account.processes().items()
            if words.endswith(".pyz supervise") and "--state-dir" not in words and namespace_of(pid) == inside
        ]
    if what == "keeper":
        return [int(json.loads((folder / "keeper.json").read_text())["pid"])]
    if what == "rootlesskit":
        return [int(json.loads((folder / "keeper.json").read_text())["rootlesskit"])]
    return [pid for pid, words in cluster.account.processes().items()
            if words.startswith(what) and f"{folder}/rk" in words]  # fmt: skip


@pytest.mark.parametrize("what", ["rootlesskit", "supervisor", "slirp4netns"])
def test_a_worker_whose_root_dies_comes_back_whole(cluster: Cluster, what: str) -> None:
    restart_and_see(cluster, what, 1)


def test_a_control_plane_whose_root_dies_comes_back_with_every_object(cluster: Cluster) -> None:
    remember(cluster, "root")
    before = kept(cluster)
    restart_and_see(cluster, "rootlesskit", 0)
    assert kept(cluster) == before


def restart_and_see(cluster: Cluster, what: str, index: int) -> None:
    before = node(cluster, index)["restarts"]
    pids = victims(cluster, what, index)
    assert len(pids) == 1, (what, pids)
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: node(cluster, index)["restarts"] == before + 1, f"the node of the killed {what} was restarted")
    wait_for(lambda: healthy(cluster), "the cluster is well again", 120)
    after = node(cluster, index)
    assert after["restarts"] == before + 1
    assert after["lastExit"].startswith({"rootlesskit": "killed by SIGKILL", "supervisor": "exit code"}.get(what, what))
    # The API may call a node Ready for some seconds after its kubelet died: the kubelet itself has to answer.
    path = f"/api/v1/nodes/{after['name']}/proxy/healthz"
    wait_for(lambda: cluster.usernetes("kubectl", "get", "--raw", path).stdout == "ok", "its kubelet answers", 60)


def test_after_all_this_no_thread_of_a_node_has_ended_unseen(cluster: Cluster) -> None:
    for index, node in enumerate(cluster.status()["nodes"]):
        logs = [cluster.node_folder(index) / "logs" / name for name in ("node.log", "keeper.log")]
        assert logs[0].exists()
        for log in filter(Path.exists, logs):  # a keeper whose launcher keeps its words has no log of its own
            words = log.read_text(errors="replace")
            assert "Exception in thread" not in words, words
            assert "Traceback" not in words, words
        assert all(thread["working"] for thread in node["threads"]), node["threads"]


def test_a_node_whose_keeper_dies_is_gone_and_says_so_until_down_cleans_it(cluster: Cluster) -> None:
    folder = cluster.node_folder(1)
    inside = pid_namespace(folder)
    os.kill(victims(cluster, "keeper", 1)[0], signal.SIGKILL)
    wait_for(
        lambda: not [pid for pid in cluster.account.processes() if namespace_of(pid) == inside], "its tree ends", 10
    )
    found = cluster.usernetes("status", "--json")
    assert found.returncode == 1
    document = json.loads(found.stdout)
    assert [item["alive"] for item in document["nodes"]] == [True, False]
    assert not document["healthy"]
    assert "GONE" in cluster.usernetes("status").stdout


def test_down_leaves_nothing_and_may_be_said_twice(cluster: Cluster) -> None:
    done = cluster.usernetes("down")
    assert done.returncode == 0, done.stderr
    assert cluster.account.leftovers() == {
        "processes": {}, "mounts": [], "sockets": [], "interfaces": [], "files": [], "states": [],
    }  # fmt: skip
    again = cluster.usernetes("down")
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert not list(Path("/tmp").glob(f"*{cluster.account.name}*"))
