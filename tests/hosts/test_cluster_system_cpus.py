"""With `systemCpus` all of Kubernetes' own threads stay on those CPUs, the network's too, and pods keep all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.clusters import Account, Cluster, bring_up, wait_for
from tests.hosts.meshed import simple_pod

pytestmark = pytest.mark.cluster
OWN = (
    "--directory=", "rootlesskit", "slirp4netns", "usernetes-mesh", "containerd", "containerd-shim", "kubelet",
    "kube-proxy", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns",
    "local-path-provisioner",
)  # fmt: skip


@pytest.fixture(scope="module")
def pinned(account: Account) -> Iterator[Cluster]:
    """One node, held to the first of the CPUs that we may use."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU is no choice")
    made = bring_up(
        account, "pinned", "--durability", "memory", "--set", f"systemCpus={cpus[0]}",
        "--set", "network.outer=slirp4netns",
    )  # fmt: skip
    yield made
    made.usernetes("down")


def affinities(pid: int) -> set[str]:
    """The CPUs of each thread of a process, as the kernel lists them."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        found.add(next(line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:")))
    return found


def test_every_system_thread_is_held_and_no_pods_process_is(pinned: Cluster) -> None:
    image = next(name for name in pinned.status()["nodes"][0]["images"] if "/busybox:" in name)
    native = {"runtimeClassName": "native", "hostNetwork": True}
    pinned.apply(
        simple_pod("meshed", image, "exec sleep 4321"), simple_pod("native", image, "exec sleep 4321", **native)
    )
    pinned.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s")
    folder = str(pinned.node_folder())
    pids = wait_for(lambda: pinned.pids(""), "the node's processes")
    pods = [pid for pid, text in pinned.account.processes().items() if text == "sleep 4321"]
    words = {pid: text for pid, text in pinned.account.processes().items() if pid in pids or folder in text}
    held, seen = {}, set()
    for pid, text in words.items():
        with contextlib.suppress(FileNotFoundError):  # a short helper that has ended
            held[text] = affinities(pid)
            seen |= {name for name in OWN if name in text}
    cpus = sorted(os.sched_getaffinity(0))
    assert seen == set(OWN)
    assert {text: found for text, found in held.items() if found != {str(cpus[0])}} == {}
    print(f"{len(held)} system processes on CPU {cpus[0]}, pods on {[affinities(pid) for pid in pods]}")
    assert len(pods) == 2
    assert not [pid for pid in pods if affinities(pid) == {str(cpus[0])}]
    inside = pinned.kubectl("exec", "meshed", "--", "grep", "Cpus_allowed_list", "/proc/self/status").split()[1]
    assert inside != str(cpus[0])


def test_a_cpu_that_is_not_there_is_refused_with_those_that_are(stranger: Account) -> None:
    done = stranger.usernetes("up", "--cluster", "nowhere", "--set", "systemCpus=1000")
    assert done.returncode == 1
    assert "systemCpus 1000: Invalid argument; there are 0" in done.stderr
    assert "choose among them" in done.stderr
    assert stranger.processes() == {}
