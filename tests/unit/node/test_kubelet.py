"""Unit tests of what the kubelet and the programs beside it are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.node import keeper, kubelet, runtime
from usernetes_deploy.node.config import POD_CPUS


def test_a_job_with_some_of_its_hosts_cpus_offers_pods_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 2, 3})
    node = config(tmp_path, pod_cpus=keeper.share_of_the_host())
    assert runtime.environment(node)[POD_CPUS] == "2,3,4"
    assert kubelet.configuration(node)["systemReserved"] == {"cpu": "5"}


def test_a_job_with_its_whole_host_reserves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    node = config(tmp_path, pod_cpus=keeper.share_of_the_host())
    assert POD_CPUS not in runtime.environment(node)
    assert "systemReserved" not in kubelet.configuration(node)


def test_images_and_pods_go_by_what_is_left_on_the_disk_never_by_a_percentage_of_it(tmp_path: Path) -> None:
    found = kubelet.configuration(config(tmp_path))
    assert found["evictionHard"] == {"nodefs.available": "1Gi", "imagefs.available": "1Gi"}
    assert found["imageGCHighThresholdPercent"] == 100
    assert set(found["evictionMinimumReclaim"]) == set(found["evictionHard"])


def test_memory_is_counted_only_where_the_node_has_a_cgroup_of_its_own(tmp_path: Path) -> None:
    found = kubelet.configuration(config(tmp_path, cgroups="delegated", eviction_memory="2Gi"))
    assert found["evictionHard"]["memory.available"] == "2Gi"
    assert "memory.available" not in found["evictionMinimumReclaim"]
    assert "memory.available" not in kubelet.configuration(config(tmp_path, eviction_memory="2Gi"))["evictionHard"]


def test_eviction_can_be_switched_off(tmp_path: Path) -> None:
    node = config(tmp_path, cgroups="delegated", eviction_memory="0", eviction_disk="0")
    found = kubelet.configuration(node)
    assert (found["evictionHard"], found["evictionMinimumReclaim"]) == ({}, {})


def test_a_pod_may_have_as_many_processes_as_the_keeper_says(tmp_path: Path) -> None:
    assert kubelet.configuration(config(tmp_path, cgroups="delegated", pod_pids=500))["podPidsLimit"] == 500
    for node in (config(tmp_path, cgroups="delegated"), config(tmp_path, pod_pids=500)):
        assert "podPidsLimit" not in kubelet.configuration(node)
