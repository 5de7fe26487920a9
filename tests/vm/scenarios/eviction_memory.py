"""Memory runs short on a node with limits: the pod that uses most goes, with the reason in its status."""

from __future__ import annotations

import json

from tests.vm.clusters import cluster
from tests.vm.machine import Machine

HOLD = "dd if=/dev/zero of=/dev/shm/held bs=1M count={} 2>&1 | tail -n 1; sleep 3600"


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    total = int(machine.must("root", "awk '/MemTotal/ {print $2}' /proc/meminfo")) // 1024
    with cluster(machine, "alice", "memory", **{"eviction.memory": f"{total - 2048}Mi"}) as made:
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
