"""A pod may have half as many processes as its user: the pod that forks without end meets its own limit."""

from __future__ import annotations

from tests.vm.clusters import Cluster, cluster
from tests.vm.machine import Machine

SLICE = "/sys/fs/cgroup/user.slice/user-1001.slice"
MOST = 1600
# More processes than the pod may have: the inner shell says so and ends, the outer one stays, so the pod does.
FORKS = "(while sleep 1000 & do :; done); exec sleep 3600"


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    prepare(machine)
    with cluster(machine, "alice", "pids") as made:
        see(machine, made)


def prepare(machine: Machine) -> None:
    """A site's limit of processes for each user; a pod gets half of it."""
    machine.must("root", f"systemctl set-property --runtime user-1001.slice TasksMax={MOST}")


def see(machine: Machine, made: Cluster) -> None:
    """The same in a cluster that is up."""
    made.apply(made.pod("forks", FORKS))
    made.until("an't fork", "logs", "forks")
    # Of the pod's own cgroup, which its containers' are below.
    found = machine.must("root", f"find {SLICE} -name pids.max -path '*/kubepods/*/pod*' | xargs cat | sort | uniq -c")
    assert f" {MOST // 2}\n" in found, found
    assert made.kubectl("get", "pod", "forks", "-o", "jsonpath={.status.phase}").strip() == "Running"
    assert "still" in machine.must("alice", "echo the user can still fork | cat")
