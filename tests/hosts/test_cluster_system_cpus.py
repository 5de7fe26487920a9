"""With `systemCpus` all of Kubernetes' own threads stay on those CPUs, the network's too, and pods keep all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
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


def affinity_words(cpus: list[int]) -> str:
    """A list of CPUs as the kernel writes it: what a process of ours that is held to them has."""
    script = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1:])); print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", script, *map(str, cpus)], capture_output=True, text=True, check=True)
    return next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("Cpus_allowed_list:"))


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


def test_system_processes_wake_late_and_no_pods_process_does(pinned: Cluster) -> None:
    def slack(pid: int) -> int:
        return int(Path(f"/proc/{pid}/timerslack_ns").read_text())

    folder = str(pinned.node_folder())
    (kubelet,), (containerd,) = pinned.pids("/bin/kubelet "), pinned.pids("/bin/containerd --config")
    assert (slack(kubelet), slack(containerd)) == (5_000_000, 1_000_000)
    pods = [pid for pid, text in pinned.account.processes().items() if text == "sleep 4321"]
    shims = [pid for pid, text in pinned.account.processes().items() if "containerd-shim" in text and folder in text]
    assert len(pods) == 2
    assert {slack(pid) for pid in (*pods, *shims)} == {50_000}
    read = ("cat", "/proc/self/timerslack_ns")
    assert [pinned.kubectl("exec", name, "--", *read).strip() for name in ("meshed", "native")] == ["50000"] * 2


def test_a_job_with_some_of_its_hosts_cpus_holds_pods_to_them(account: Account) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU is no choice")
    os.sched_setaffinity(0, cpus[1:])
    try:
        made = bring_up(account, "shares", "--durability", "memory")
    finally:
        os.sched_setaffinity(0, cpus)
    try:
        image = next(name for name in made.status()["nodes"][0]["images"] if "/busybox:" in name)
        native = {"runtimeClassName": "native", "hostNetwork": True}
        made.apply(
            simple_pod("meshed", image, "exec sleep 4322"), simple_pod("native", image, "exec sleep 4322", **native)
        )
        made.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s")
        kernel_words = affinity_words(cpus[1:])
        pods = [pid for pid, text in account.processes().items() if text == "sleep 4322"]
        assert [affinities(pid) for pid in pods] == [{kernel_words}] * 2
        inside = made.kubectl("exec", "meshed", "--", "grep", "Cpus_allowed_list", "/proc/self/status").split()[1]
        assert inside == kernel_words
        offered = made.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}")
        assert int(offered) == len(cpus) - 1
    finally:
        made.usernetes("down")


def test_a_cpu_that_is_not_there_is_refused_with_those_that_are(stranger: Account) -> None:
    done = stranger.usernetes("up", "--cluster", "nowhere", "--set", "systemCpus=1000")
    assert done.returncode == 1
    assert "systemCpus 1000: Invalid argument; there are 0" in done.stderr
    assert "choose among them" in done.stderr
    assert stranger.processes() == {}
