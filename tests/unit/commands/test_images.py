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


def containerd(*names: str) -> Any:
    """A node's `ctr`, whose list of what was loaded has these names."""

    def answer(_: Host, argv: Any, __: bytes) -> Completed:
        return Completed(argv, 0, "\n".join(names) if "list" in argv else "Importing\telapsed: 0.1 s\n", "")

    return answer


def test_an_archive_goes_to_all_nodes_under_a_name_of_its_own(
    made_up: MadeUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up.launcher._answers["enter"] = containerd("docker.io/library/app:1", "docker.io/library/app:2")
    archive = tmp_path / "etcd"  # the name of a folder of the node
    archive.write_bytes(b"tar")
    assert usernetes("images", "load", str(archive)) == 0
    out, err = capsys.readouterr()
    assert "etcd is on 2 nodes" in err
    assert out == "docker.io/library/app:1\ndocker.io/library/app:2\n"
    calls = made_up.launcher.calls
    for index in (0, 1):
        own = [call for call in calls if call.host == f"node{index}"]
        assert [call.verb for call in own] == ["send", "run", "run", "run"]
        there = own[0].argv[1]
        assert Path(there).parent == Path(f"/var/tmp/usernetes-1/ab-{index}")
        assert Path(there).name not in ("etcd", "logs", "containerd")
        *_, images, verb, label, archive_there = own[1].argv
        assert (images, verb, archive_there) == ("images", "import", there)
        key, _, mark = label.removeprefix("--label=").partition("=")
        assert own[2].argv[-1] == f'labels."{key}"=={mark}'  # of this load, not of an earlier one
        assert list(own[3].argv) == ["rm", "-f", there]


def test_an_archive_whose_images_have_no_name_is_not_said_to_be_loaded(
    made_up: MadeUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up.launcher._answers["enter"] = containerd()
    archive = tmp_path / "app.tar"
    archive.write_bytes(b"tar")
    assert usernetes("images", "load", str(archive)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "load app.tar: no image in it has a name" in err
    assert "app.tar is on" not in err


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


def test_a_name_without_a_registry_is_given_the_one_that_a_kubelet_asks_for(
    made_up: MadeUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up.launcher._answers["enter"] = containerd("local/app:1")
    archive = tmp_path / "app.tar"
    archive.write_bytes(b"tar")
    assert usernetes("images", "load", str(archive)) == 0
    assert capsys.readouterr().out == "docker.io/local/app:1\n"
    tags = [call.argv[-4:] for call in made_up.launcher.calls if "tag" in call.argv]
    assert [list(tag) for tag in tags] == [["tag", "--force", "local/app:1", "docker.io/local/app:1"]] * 2
