"""Unit tests of what the kubelet and the programs beside it are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.node import keeper, kubelet
from usernetes_deploy.node.config import POD_CPUS


def test_a_job_with_some_of_its_hosts_cpus_offers_pods_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POD_CPUS, "")  # so that what is set below is taken back
    monkeypatch.delenv(POD_CPUS)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 2, 3})
    node = config(tmp_path)
    keeper.hold_to(None, "node0")
    environment = keeper.clean_environment(node)
    assert environment[POD_CPUS] == "2,3,4"
    monkeypatch.setenv(POD_CPUS, environment[POD_CPUS])
    assert kubelet.configuration(node)["systemReserved"] == {"cpu": "5"}


def test_a_job_with_its_whole_host_reserves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POD_CPUS, "")  # so that what is set below is taken back
    monkeypatch.delenv(POD_CPUS)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    keeper.hold_to(None, "node0")
    assert POD_CPUS not in keeper.clean_environment(config(tmp_path))
    assert "systemReserved" not in kubelet.configuration(config(tmp_path))
