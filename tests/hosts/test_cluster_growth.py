"""A running cluster grows and shrinks under a workload, and no request of a replicated service is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.clusters import Account, Cluster, bring_up, wait_for

pytestmark = pytest.mark.cluster
ROUNDS = int(os.environ.get("USERNETES_TEST_ROUNDS", "2"))
SERVER = (
    "trap 'sleep 2; exit' TERM; mkdir /www; echo hello > /www/index.html; httpd -p 8080 -h /www; sleep 36000 & wait"
)
VISITOR = """
ok=0; lost=0
while [ ! -e /tmp/stop ]; do
  if timeout 5 wget -q -O /dev/null http://web; then ok=$((ok+1)); else lost=$((lost+1)); fi
  echo $ok $lost > /tmp/next; mv /tmp/next /tmp/count; usleep 20000
done
sleep 36000
"""


@pytest.fixture(scope="module")
def growing(account: Account) -> Iterator[Cluster]:
    """Two nodes, a service of three replicas that spread, and a visitor beside the control plane."""
    cluster = bring_up(account, "growing", "--nodes", "2")
    image = next(i for node in cluster.status()["nodes"] for i in node["images"] if "busybox" in i)
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
              "labelSelector": {"matchLabels": {"app": "web"}}}  # fmt: skip
    container = {"image": image, "imagePullPolicy": "Never"}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 5,
                        "topologySpreadConstraints": [spread],
                        "containers": [
                            {
                                "name": "web",
                                "command": ["/bin/sh", "-c", SERVER],
                                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                                **container,
                            }
                        ],
                    },
                },
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "visitor"},
            "spec": {
                "nodeName": "node0",
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "visitor", "command": ["/bin/sh", "-c", VISITOR], **container}],
            },
        }
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/visitor", "--timeout=60s")
    yield cluster
    account.usernetes("down", "--cluster", "growing")


def visits(cluster: Cluster) -> tuple[int, int]:
    words = cluster.kubectl("exec", "visitor", "--", "cat", "/tmp/count").split()
    return int(words[0]), int(words[1])


def test_no_request_is_lost_while_nodes_come_and_go_and_their_addresses_are_used_again(growing: Cluster) -> None:
    wait_for(lambda: visits(growing)[0] > 10, "the visitor gets answers")
    before = visits(growing)
    addresses = set()
    for _ in range(ROUNDS):
        done = growing.usernetes("add", "--nodes", "1")
        assert done.returncode == 0, done.stderr
        name = done.stdout.strip()
        node = next(node for node in growing.status()["nodes"] if node["name"] == name)
        addresses.add(node["nodeIP"])
        assert node["ready"]
        growing.kubectl("rollout", "restart", "deployment/web")  # so that the new node gets its share
        growing.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        done = growing.usernetes("remove", name)
        assert done.returncode == 0, done.stderr
        assert "could not" not in done.stderr
        assert [item["metadata"]["name"] for item in growing.get("nodes")["items"]] == ["node0", "node1"]
    after = visits(growing)
    print(f"{ROUNDS} rounds: {after[0] - before[0]} requests answered, {after[1] - before[1]} lost; {addresses}")
    assert addresses == {"10.64.0.3"}
    assert after[0] > before[0] + 10 * ROUNDS
    assert after[1] == before[1], f"{after[1] - before[1]} of {after[0] - before[0]} requests were lost"
    assert growing.status()["healthy"]


def test_the_control_plane_s_node_and_strangers_cannot_be_removed(growing: Cluster) -> None:
    refused = growing.usernetes("remove", "node0")
    assert refused.returncode == 2
    assert "carries the control plane" in refused.stderr
    unknown = growing.usernetes("remove", "node9")
    assert unknown.returncode == 2
    assert "its nodes are node0, node1" in unknown.stderr


def test_adding_no_nodes_or_another_launcher_s_hosts_is_refused(growing: Cluster) -> None:
    assert growing.usernetes("add", "--nodes", "0").returncode == 2
    refused = growing.usernetes("add", "--hosts", "a,b")
    assert refused.returncode == 2
    assert "--hosts is for clusters over SSH" in refused.stderr


def test_a_node_that_has_ended_is_removed_by_force_alone_and_its_pods_go_elsewhere(growing: Cluster) -> None:
    name = growing.usernetes("add", "--nodes", "1").stdout.strip()
    growing.kubectl("rollout", "restart", "deployment/web")
    growing.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    node = next(node for node in growing.status()["nodes"] if node["name"] == name)
    os.kill(node["keeper"], signal.SIGKILL)
    wait_for(lambda: not next(n for n in growing.status()["nodes"] if n["name"] == name)["alive"], "its end", 30)
    assert f"{name}: its keeper (pid {node['keeper']}) is gone" in growing.usernetes("status").stdout
    refused = growing.usernetes("remove", name)
    assert refused.returncode == 1
    assert f"fix: usernetes remove {name} --force" in refused.stderr
    done = growing.usernetes("remove", name, "--force")
    assert done.returncode == 0, done.stderr
    growing.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert {pod["spec"]["nodeName"] for pod in growing.get("pods")["items"]} <= {"node0", "node1"}
    status = growing.status()
    assert status["healthy"]
    assert [(loss["node"], loss["action"]) for loss in status["losses"]] == [(name, "dismissed")]
    assert not Path(node["directory"]).exists()
