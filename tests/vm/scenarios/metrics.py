"""`kubectl top` counts what nodes and pods use, and a HorizontalPodAutoscaler scales by it."""

from __future__ import annotations

from typing import Any

from tests.vm.clusters import Cluster, cluster
from tests.vm.machine import Machine


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    with cluster(machine, "alice", "metrics", metrics="true") as made:
        see(machine, made)


def see(machine: Machine, made: Cluster) -> None:
    """The same in a cluster that is up."""
    made.apply(*busy(made))
    made.until("busy-", "top", "pods", "--no-headers")
    made.until("node0", "top", "nodes", "--no-headers")
    made.until('"currentReplicas":2', "get", "hpa", "busy", "-o", "jsonpath={.status}", seconds=600)
    assert "SuccessfulRescale" in made.kubectl("describe", "hpa", "busy")


def busy(made: Cluster) -> list[dict[str, Any]]:
    """A Deployment that uses all the CPU it may, and what scales it to two."""
    pod = made.pod("busy", "while :; do :; done", cpu="100m")["spec"]
    pod["restartPolicy"] = "Always"
    labels = {"app": "busy"}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }  # fmt: skip
    target = {"type": "Utilization", "averageUtilization": 20}
    scaler = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "busy"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
            "minReplicas": 1, "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }  # fmt: skip
    return [deployment, scaler]
