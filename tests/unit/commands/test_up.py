"""The verbs `check` and `list`: every problem of every host, and every cluster, each with its remedy or reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_up import MadeUp, make_cluster
from tests.unit.phases.made_up import answers, make
from usernetes_deploy import cli
from usernetes_deploy.commands import up
from usernetes_deploy.jobs import systems


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have `check` ask simulated hosts that answer as recorded ones did."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(up, "node_program", lambda: Path("node.pyz"))

    def use(**recorded: str) -> None:
        launcher = make(tmp_path, 2, recorded={name: answers(case) for name, case in recorded.items()}).launcher
        monkeypatch.setattr(up, "launcher_for", lambda *_, **__: launcher)

    return use


def test_hosts_that_are_fit_are_told_what_could_be_better(hosts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    hosts()
    assert cli.run(["usernetes", "check", "--nodes", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 hosts are fit\n")
    assert out.count("could be better: resource limits of pods are not enforced") == 1
    # The first host's remedy stands for all.
    assert out.count("usernetes prepare --tags cgroup_delegation --user hpc --hosts node0") == 1
    assert "--hosts node1" not in out


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


def test_clusters_are_listed_beside_those_whose_record_cannot_be_read(
    made_up: MadeUp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["usernetes", "list"]) == 0
    whole = capsys.readouterr().out
    for name, text in (("cut", "{"), ("later", '{"schema": 1}')):
        other = make_cluster(made_up.state.root, name).state
        (other.directory / "cluster.json").write_text(text)
    assert cli.run(["usernetes", "list"]) == 1
    out, err = capsys.readouterr()
    assert out == whole
    assert "the record of 2 of 3 clusters cannot be read:" in err
    assert f"\n  cut: read {made_up.state.root}/cut/cluster.json: Expecting" in err
    assert "cluster.json: written by another version of usernetes (record 1, this one reads 2)" in err
    assert cli.run(["usernetes", "list", "--json"]) == 1
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == ["demo"]


def test_that_no_record_can_be_read_is_not_that_there_are_no_clusters(
    made_up: MadeUp, capsys: pytest.CaptureFixture[str]
) -> None:
    (made_up.state.directory / "cluster.json").write_text("")
    assert cli.run(["usernetes", "list"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "the record of 1 of 1 clusters cannot be read" in err


def test_a_job_with_more_node_hours_than_allowed_is_not_submitted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time limit is known before the job is submitted."""

    class Outside:
        title = "Slurm"

        def own_job(self) -> None:
            return None

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(systems, "named", lambda _: Outside())
    monkeypatch.setattr(up, "submitted", lambda *_, **__: "submitted")
    words = ["up", "--launcher", "slurm", "--nodes", "4", "--set", "policies=[{largest-size: {nodeHours: 8}}]"]
    assert cli.run(["usernetes", *words, "--time", "2h"]) == 0
    assert capsys.readouterr().out == "submitted\n"
    assert cli.run(["usernetes", *words, "--time", "3h"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "policy largest-size of the spec: 8 node-hours are allowed, and 4 nodes for 3h are more" in shown.err
