"""NetworkPolicies on a real cluster of two nodes: what is closed is closed, on one node and across, and opens again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.clusters import Cluster, wait_for

pytestmark = pytest.mark.cluster
SPACE, OTHER = "walls", "beyond"
NAMED = {"name": "web", "containerPort": 8080}


def pod(cluster: Cluster, name: str, node: int, space: str = SPACE, **labels: str) -> dict[str, Any]:
    """A pod that answers its name on 8080 and 9090."""
    image = next(one for one in cluster.status()["nodes"][0]["images"] if "/busybox:" in one)
    serve = f"mkdir /tmp/w; echo {name} > /tmp/w/index.html; httpd -p 9090 -h /tmp/w; exec httpd -f -p 8080 -h /tmp/w"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"app": name, **labels}},
        "spec": {
            "nodeName": f"node{node}",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", serve],
                    "ports": [NAMED],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def walls(cluster: Cluster) -> Iterator[Cluster]:
    for space in (SPACE, OTHER):
        cluster.kubectl("create", "namespace", space)
    cluster.kubectl("label", "namespace", OTHER, "team=friends")
    made = [pod(cluster, "server", 1), pod(cluster, "near", 1, role="client"), pod(cluster, "far", 0, role="client")]
    made += [pod(cluster, "friend", 0, OTHER), pod(cluster, "stranger", 1)]
    service = {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}
    made.append(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": SPACE}, "spec": service}
    )
    for one in made:
        cluster.apply(one)
    for space in (SPACE, OTHER):
        cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", f"--namespace={space}", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "namespace", SPACE, OTHER)


@pytest.fixture(autouse=True)
def _opened(walls: Cluster) -> Iterator[None]:
    yield
    walls.kubectl("delete", "networkpolicy", "--all", "--namespace", SPACE)
    wait_for(lambda: reaches(walls, "stranger"), "all is open again")


def address(cluster: Cluster, name: str, space: str = SPACE) -> str:
    """The address of a pod."""
    found: str = cluster.get("pod", name, "--namespace", space)["status"]["podIP"]
    return found


def reaches(cluster: Cluster, who: str, target: str = "", port: int = 8080, space: str = SPACE) -> bool:
    """Whether a pod gets an answer of the server, or of another target."""
    url = f"http://{target or address(cluster, 'server')}:{port}/"
    ask = ("timeout", "2", "wget", "-q", "-O", "-", url)
    done = cluster.usernetes("kubectl", "exec", "--namespace", space, who, "--", *ask)
    return done.returncode == 0


def policy(cluster: Cluster, name: str = "wall", **spec: Any) -> None:
    """Apply one, of the server unless the spec says otherwise; no warning comes with it."""
    document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, **spec},
    }
    done = cluster.usernetes("kubectl", "apply", "-f", "-", stdin=json.dumps(document))
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr


def test_what_is_closed_answers_nobody_on_its_node_or_across_and_stays_ready(walls: Cluster) -> None:
    assert reaches(walls, "near") and reaches(walls, "far") and reaches(walls, "far", "server", 80)
    policy(walls, policyTypes=["Ingress"])
    wait_for(lambda: not reaches(walls, "far"), "the wall")
    for who in ("near", "far", "stranger"):
        assert not reaches(walls, who), who
    assert not reaches(walls, "far", "server", 80)  # through the Service as well
    assert reaches(walls, "server", address(walls, "far"))  # it may ask others, and gets their answers
    assert walls.get("pod", "server", "--namespace", SPACE)["status"]["containerStatuses"][0]["ready"]
    assert walls.status()["healthy"]


def test_those_who_are_named_get_through_by_label_namespace_block_and_port(walls: Cluster) -> None:
    near = address(walls, "stranger")
    sources = [
        {"podSelector": {"matchLabels": {"role": "client"}}},
        {"namespaceSelector": {"matchLabels": {"team": "friends"}}},
    ]
    policy(walls, ingress=[{"from": sources, "ports": [{"port": "web"}]}])
    wait_for(lambda: not reaches(walls, "stranger"), "the wall")
    assert reaches(walls, "near") and reaches(walls, "far") and reaches(walls, "friend", space=OTHER)
    assert reaches(walls, "far", "server", 80)
    assert not reaches(walls, "near", port=9090) and not reaches(walls, "far", port=9090)
    block = {"ipBlock": {"cidr": "10.244.0.0/16", "except": [f"{near}/32"]}}
    policy(walls, ingress=[{"from": [block], "ports": [{"port": 9000, "endPort": 9100}]}])
    wait_for(lambda: reaches(walls, "far", port=9090), "the block")
    assert reaches(walls, "near", port=9090) and not reaches(walls, "near")
    assert not reaches(walls, "stranger", port=9090)


def test_what_a_pod_may_ask_is_limited_with_names_or_without(walls: Cluster) -> None:
    chosen = {"podSelector": {"matchLabels": {"app": "far"}}, "policyTypes": ["Egress"]}
    policy(walls, "out", **chosen)
    wait_for(lambda: not reaches(walls, "far"), "the wall")
    assert reaches(walls, "near")
    to_server = {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"port": "web"}]}
    policy(walls, "out", **chosen, egress=[to_server])
    wait_for(lambda: reaches(walls, "far"), "the way to the server")
    assert not reaches(walls, "far", port=9090)
    assert not reaches(walls, "far", address(walls, "friend", OTHER))
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    near = {"podSelector": {"matchLabels": {"app": "stranger"}}, "policyTypes": ["Egress"]}
    policy(walls, "out-too", **near, egress=[to_server])
    wait_for(lambda: not reaches(walls, "stranger", "server", 80), "no names on the other node")
    policy(walls, "out-too", **near, egress=[to_server, {"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}]}])
    wait_for(lambda: reaches(walls, "stranger", "server", 80), "names")


def test_a_pod_that_comes_later_is_behind_the_wall_or_gets_through(walls: Cluster) -> None:
    policy(walls, ingress=[{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}]}])
    wait_for(lambda: not reaches(walls, "stranger"), "the wall")
    walls.apply(pod(walls, "late", 0, role="client"))
    walls.kubectl("wait", "--for=condition=Ready", "pod/late", f"--namespace={SPACE}", "--timeout=60s")
    wait_for(lambda: reaches(walls, "late"), "the new client")
    walls.kubectl("label", "pod", "late", "role-", f"--namespace={SPACE}")
    wait_for(lambda: not reaches(walls, "late"), "the label is gone")
    walls.kubectl("delete", "pod", "server", "late", f"--namespace={SPACE}")
    walls.apply(pod(walls, "server", 1))
    walls.kubectl("wait", "--for=condition=Ready", "pod/server", f"--namespace={SPACE}", "--timeout=60s")
    wait_for(lambda: reaches(walls, "far"), "the new server")
    wait_for(lambda: not reaches(walls, "stranger"), "the new server is closed, too")
