"""Delegated controllers, two nodes on one host: memory, CPU and pids limits hold, a pod killed for memory says so."""

from __future__ import annotations

import json

from tests.vm.clusters import Cluster, cluster
from tests.vm.machine import Machine

SHOW = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; sleep 3600"
SLICE = "/sys/fs/cgroup/user.slice/user-1001.slice"
MOST = 1600
# More processes than the pod may have: the shell says so, and goes on.
FORKS = "while sleep 1000 & do :; done"


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    prepare(machine)
    with cluster(machine, "alice", "limits", "--nodes=2") as made:
        see(machine, made)


def prepare(machine: Machine) -> None:
    """A site's limit of processes for each user; a pod gets half of it."""
    machine.must("root", f"systemctl set-property --runtime user-1001.slice TasksMax={MOST}")


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
    for node in nodes:
        limit = json.loads(made.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))
        pids = int(limit["kubeletconfig"]["podPidsLimit"])
        assert pids == MOST // 2, limit
        pod = made.pod(f"forks-{node}", FORKS)
        pod["spec"]["nodeName"] = node
        made.apply(pod)
        made.until("an't fork", "logs", f"forks-{node}")
    # Of the pod's own cgroup, which its containers' are below.
    found = machine.must("root", f"find {SLICE} -name pids.max -path '*/kubepods/*/pod*' | xargs cat | sort | uniq -c")
    assert f" {pids}\n" in found, found
    assert machine.must("alice", "echo the user can still fork").strip()
