"""Delegated controllers, two nodes on one host: memory and CPU limits hold, a pod killed for memory says so."""

from __future__ import annotations

from tests.vm.clusters import Cluster, cluster
from tests.vm.machine import Machine

SHOW = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; sleep 3600"


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    with cluster(machine, "alice", "limits", "--nodes=2") as made:
        see(machine, made)


def see(machine: Machine, made: Cluster) -> None:
    """The same in a cluster that is up."""
    nodes = made.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert "limits  enforced" in made.usernetes("status")
    for node in nodes:
        pods = [
            made.pod(f"eats-{node}", "tail /dev/zero", memory="32Mi"),
            made.pod(f"rests-{node}", SHOW, memory="64Mi", cpu="500m"),
        ]
        for pod in pods:
            pod["spec"]["nodeName"] = node
        made.apply(*pods)
    for node in nodes:
        made.until("OOMKilled", "get", "pod", f"eats-{node}")
        made.until("67108864\n50000 100000", "logs", f"rests-{node}")
