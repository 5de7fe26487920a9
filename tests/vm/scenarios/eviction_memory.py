"""Memory runs short on a node with limits: the pod that uses most goes, with the reason in its status."""

from __future__ import annotations

import json

from tests.vm.clusters import Cluster, cluster
from tests.vm.machine import Machine

HOLD = "dd if=/dev/zero of=/dev/shm/held bs=1M count={} 2>&1 | tail -n 1; sleep 3600"


def spec(machine: Machine) -> dict[str, str]:
    """A limit that the pods reach."""
    total = int(machine.must("root", "awk '/MemTotal/ {print $2}' /proc/meminfo")) // 1024
    return {"eviction.memory": f"{total - 2048}Mi"}


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    with cluster(machine, "alice", "memory", **spec(machine)) as made:
        see(machine, made)


def see(machine: Machine, made: Cluster) -> None:
    """The same in a cluster that is up."""
    volume = {"name": "memory", "emptyDir": {"medium": "Memory"}}
    pods = [made.pod("small", HOLD.format(10)), made.pod("large", HOLD.format(1700))]
    for pod in pods:
        pod["spec"]["volumes"] = [volume]
        pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "memory", "mountPath": "/dev/shm"}]
    made.apply(*pods)
    made.until("Evicted", "get", "pod", "large", "-o", "jsonpath={.status.reason}", seconds=600)
    status = json.loads(made.kubectl("get", "pod", "large", "-o", "json"))["status"]
    assert "low on resource: memory" in status["message"], status
    made.until(
        "MemoryPressure=False",
        "get",
        "node",
        "-o",
        "jsonpath={range .items[0].status.conditions[*]}{.type}={.status} {end}",
    )
    assert made.kubectl("get", "pod", "small", "-o", "jsonpath={.status.phase}").strip() == "Running"
