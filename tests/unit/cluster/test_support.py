"""What is collected for somebody who is to help: whole where it can be had, without a secret, for its owner alone."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_up import MadeUp
from usernetes_deploy.cluster import support
from usernetes_deploy.errors import Secret, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Host

VERSIONS = {"usernetes": "0.1.0"}


@pytest.fixture
def cluster(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """Two simulated nodes that have logs; the state directory holds keys."""
    monkeypatch.setattr(support, "launcher_from_state", lambda *_: made_up.launcher)
    made_up.state.write_secret("secrets.json", Secret("-----BEGIN PRIVATE KEY-----"))

    def logs(host: Host, argv: Any, _: bytes) -> Completed:
        return Completed(argv, 0, f"the log of {host.name}\n", "")

    made_up.launcher._answers["logs"] = logs
    for path in support.OBJECTS.values():
        made_up.paths.setdefault(path, {"items": []})
    return made_up


def test_a_folder_has_everything_and_no_secret(cluster: MadeUp, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert support.collect(cluster.state, Path("node.pyz"), target, VERSIONS) == []
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert {"cluster.json", "status.json", "nodes.json", "events.json", "versions.json", "logs/node1.log"} <= names
    assert json.loads((target / "versions.json").read_text()) == VERSIONS
    assert target.stat().st_mode & 0o777 == 0o700
    assert not any("PRIVATE KEY" in path.read_text() for path in target.rglob("*") if path.is_file())


def test_an_archive_is_its_owners_alone(cluster: MadeUp, tmp_path: Path) -> None:
    target = tmp_path / "out.tar.gz"
    support.collect(cluster.state, Path("node.pyz"), target, VERSIONS)
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        assert f"usernetes-{cluster.state.name}/logs/node0.log" in archive.getnames()


def test_what_cannot_be_had_is_named_and_the_rest_is_there(cluster: MadeUp, tmp_path: Path) -> None:
    def broken(host: Host, argv: Any, _: bytes) -> Completed:
        if host.name == "node1":
            raise UsernetesError("no route to host", node=host.name)
        return Completed(argv, 0, "fine\n", "")

    cluster.launcher._answers["logs"] = broken
    lacking = support.collect(cluster.state, Path("node.pyz"), tmp_path / "out", VERSIONS)
    assert lacking == ["logs of node1: node1: no route to host"]
    assert (tmp_path / "out" / "logs" / "node0.log").exists()
    assert "no route to host" in (tmp_path / "out" / "MISSING").read_text()


def test_what_is_there_already_is_left_alone(cluster: MadeUp, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        support.collect(cluster.state, Path("node.pyz"), tmp_path / "out", VERSIONS)
