"""The verb `check`: every problem and every warning of every host, each with its remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.phases.made_up import answers, make
from usernetes_deploy import cli
from usernetes_deploy.commands import cluster


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have `check` ask simulated hosts that answer as recorded ones did."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cluster, "node_program", lambda: Path("node.pyz"))

    def use(**recorded: str) -> None:
        launcher = make(tmp_path, 2, recorded={name: answers(case) for name, case in recorded.items()}).launcher
        monkeypatch.setattr(cluster, "launcher_for", lambda *_, **__: launcher)

    return use


def test_hosts_that_are_fit_are_told_what_could_be_better(hosts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    hosts()
    assert cli.run(["usernetes", "check", "--nodes", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 hosts are fit\n")
    assert out.count("could be better: resource limits of pods are not enforced") == 1
    assert out.count("--tags cgroup_delegation -l node0") == 1  # the first host's remedy stands for all
    assert "-l node1" not in out


def test_for_programs_each_host_has_its_problems_and_warnings(hosts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    hosts(node1="debian-12-not-prepared")
    assert cli.run(["usernetes", "check", "--nodes", "2", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert not found["fit"]
    assert [host["fit"] for host in found["hosts"].values()] == [True, False]
    assert found["hosts"]["node0"]["problems"] == []
    said = found["hosts"]["node0"]["warnings"] + found["hosts"]["node1"]["problems"]
    assert len(said) > 2
    assert all(item["what"] and item["remedy"] for item in said)
