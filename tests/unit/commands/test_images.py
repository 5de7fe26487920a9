"""The verbs `images load` and `images list`, against a made-up cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_up import MadeUp
from usernetes_deploy import cli
from usernetes_deploy.launch.base import Completed, Host


def usernetes(*words: str) -> int:
    """Run a command line; its exit code."""
    return cli.run(["usernetes", *words])


def test_an_archive_goes_to_all_nodes_under_a_name_of_its_own(
    made_up: MadeUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "etcd"  # the name of a folder of the node
    archive.write_bytes(b"tar")
    assert usernetes("images", "load", str(archive)) == 0
    assert "etcd is on 2 nodes" in capsys.readouterr().err
    calls = made_up.launcher.calls
    for index in (0, 1):
        own = [call for call in calls if call.host == f"node{index}"]
        assert [call.verb for call in own] == ["send", "run", "run"]
        there = own[0].argv[1]
        assert Path(there).parent == Path(f"/var/tmp/usernetes-1/ab-{index}")
        assert Path(there).name not in ("etcd", "logs", "containerd")
        assert list(own[1].argv[-3:]) == ["images", "import", there]
        assert list(own[2].argv) == ["rm", "-f", there]


def test_a_node_that_cannot_take_it_is_named_and_nothing_stays_there(
    made_up: MadeUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(host: Host, argv: Any, _: bytes) -> Completed:
        said = 'time="..." level=warning msg="DEPRECATION"\nctr: invalid tar header\n'
        return Completed(argv, int(host.name == "node1"), "", said)

    made_up.launcher._answers["enter"] = refuse
    archive = tmp_path / "app.tar"
    archive.write_bytes(b"no tar")
    assert usernetes("images", "load", str(archive)) == 1
    said = capsys.readouterr().err
    assert "load app.tar: failed on 1 node" in said
    assert "node1: ctr images import app.tar: exit code 1\n    | ctr: invalid tar header" in said
    assert "DEPRECATION" not in said
    assert sorted(call.host for call in made_up.launcher.calls if call.argv[0] == "rm") == ["node0", "node1"]


def test_what_is_no_file_is_refused_before_any_node_is_asked(made_up: MadeUp, tmp_path: Path) -> None:
    assert usernetes("images", "load", str(tmp_path)) == 2
    assert made_up.launcher.calls == []


def test_images_are_listed_with_the_nodes_that_have_them(
    made_up: MadeUp,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert usernetes("images", "list") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [["IMAGE", "NODES"], ["docker.io/library/app:1", "all"], ["other:2", "node1"]]
    assert usernetes("images", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[1] == {"image": "other:2", "nodes": ["node1"]}
