"""The node's disk runs full: the pod that filled it goes, the node is well again, and the images are still there."""

from __future__ import annotations

import json

from tests.vm.clusters import CONDITIONS, Cluster, cluster
from tests.vm.machine import Machine

FILL = "dd if=/dev/zero of=/filled bs=1M count={} 2>&1 | tail -n 1; sleep 3600"


def spec(machine: Machine) -> dict[str, str]:
    """A limit that the pods reach."""
    free = int(machine.must("root", "df --output=avail -m /var/tmp | tail -n 1"))
    return {"eviction.disk": f"{free - 1500}Mi"}


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    with cluster(machine, "alice", "disk", **spec(machine)) as made:
        see(machine, made)


def see(machine: Machine, made: Cluster) -> None:
    """The same in a cluster that is up."""
    made.apply(made.pod("small", FILL.format(1)), made.pod("large", FILL.format(1800)))
    made.until("Evicted", "get", "pod", "large", "-o", "jsonpath={.status.reason}", seconds=900)
    status = json.loads(made.kubectl("get", "pod", "large", "-o", "json"))["status"]
    assert "low on resource: ephemeral-storage" in status["message"], status
    made.until("DiskPressure=False", "get", "node", "-o", CONDITIONS)
    assert made.kubectl("get", "pod", "small", "-o", "jsonpath={.status.phase}").strip() == "Running"
    assert made.busybox()
