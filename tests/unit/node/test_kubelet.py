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


def test_a_kubelet_at_rest_measures_nothing(tmp_path: Path) -> None:
    found = kubelet.configuration(config(tmp_path, cgroups="delegated"))
    assert (found["evictionHard"], found["localStorageCapacityIsolation"]) == ({}, False)


def test_a_kubelet_that_watches_goes_by_what_is_left_and_never_by_a_percentage(tmp_path: Path) -> None:
    found = kubelet.configuration(config(tmp_path), {"nodefs.available": 1 << 30})
    assert found["evictionHard"] == {"nodefs.available": "1073741824"}
    assert found["localStorageCapacityIsolation"]
    assert found["volumeStatsAggPeriod"] == "10s"
    assert found["imageGCHighThresholdPercent"] == 100


def test_a_pod_may_have_as_many_processes_as_the_keeper_says(tmp_path: Path) -> None:
    assert kubelet.configuration(config(tmp_path, cgroups="delegated", pod_pids=500))["podPidsLimit"] == 500
    for node in (config(tmp_path, cgroups="delegated"), config(tmp_path, pod_pids=500)):
        assert "podPidsLimit" not in kubelet.configuration(node)


def test_a_job_with_some_of_its_hosts_memory_offers_pods_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    node = config(tmp_path, job_memory=600 * 4096, job_cpus=6)
    assert kubelet.configuration(node)["systemReserved"] == {"cpu": "2", "memory": str(400 * 4096)}
    kept = kubelet.configuration(node, {"memory.available": 100 * 4096})  # which the kubelet takes off by itself
    assert kept["systemReserved"]["memory"] == str(300 * 4096)
    more = config(tmp_path, job_memory=2000 * 4096)
    assert kubelet.configuration(more)["systemReserved"] == {"memory": "0"}


def test_where_pods_have_cgroups_what_they_use_is_known_as_it_is_now(tmp_path: Path) -> None:
    """What is a minute old has the kubelet evict a small pod before the one that has just filled the memory."""
    assert "--housekeeping-interval=10s" in kubelet.argv(config(tmp_path, cgroups="delegated"))
    assert "--housekeeping-interval=60s" in kubelet.argv(config(tmp_path))
