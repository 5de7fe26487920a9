"""The supervisor's own file system, as far as it can be had without a user namespace."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import CommandFailed, UsernetesError
from usernetes_deploy.node import supervisor


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copied-up folder: what it holds are links to what the host has."""
    host, top = tmp_path / "host", tmp_path / "top"
    (host / "cni").mkdir(parents=True)
    (host / "cni" / "theirs.conf").write_text("")
    top.mkdir()
    (top / "cni").symlink_to(host / "cni")
    monkeypatch.setattr(supervisor, "COPIED_UP", (str(top),))
    return top


def test_a_link_to_the_hosts_folder_becomes_a_folder_of_the_nodes_own(top: Path, tmp_path: Path) -> None:
    supervisor.own_directory(top / "cni" / "net.d")
    assert not (top / "cni").is_symlink()
    assert (top / "cni" / "net.d").is_dir()
    assert [path.name for path in (tmp_path / "host" / "cni").iterdir()] == ["theirs.conf"]


def test_a_folder_that_is_there_keeps_what_it_holds(top: Path) -> None:
    supervisor.own_directory(top / "run")
    (top / "run" / "file").write_text("")
    supervisor.own_directory(top / "run")
    assert (top / "run" / "file").exists()


def test_links_elsewhere_are_left_alone(top: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(top)
    supervisor.own_directory(link / "new")
    assert link.is_symlink()
    assert (top / "new").is_dir()


def test_shared_volumes_lie_where_nobody_else_may_enter(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = supervisor.private_folder(tmp_path)
        assert supervisor.private_folder(tmp_path) == folder  # every node of the cluster asks for it
    finally:
        os.umask(before)
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_mount_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=f"mount --bind {tmp_path}/none {tmp_path}/no"):
        supervisor._mount("--bind", str(tmp_path / "none"), str(tmp_path / "no"))


def test_limits_are_raised_to_the_hard_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, Any] = {}
    monkeypatch.setattr(resource, "getrlimit", lambda number: (1, 100 + number))
    monkeypatch.setattr(resource, "setrlimit", asked.__setitem__)
    supervisor.raise_limits()
    assert set(asked) == {resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK}
    assert all(pair == (100 + number, 100 + number) for number, pair in asked.items())


def test_the_status_file_is_replaced_whole_and_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    node = supervisor.Supervisor(config(tmp_path), tmp_path / "netns")
    node.problems.append("no image")
    node.write_status()
    written = json.loads((tmp_path / "status.json").read_text())
    assert (written["name"], written["problems"], written["components"]) == ("node0", ["no image"], [])
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    gone = supervisor.Supervisor(config(tmp_path / "gone"), tmp_path / "netns")
    gone.write_status()


def test_an_object_that_is_refused_at_first_is_tried_again_while_the_server_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(supervisor.time, "sleep", pauses.append)

    def refuse(times: int) -> Any:
        left = [UsernetesError("no matches for kind")] * times

        def call() -> None:
            if left:
                raise left.pop()

        return call

    supervisor._persistently(refuse(3), lambda: True)
    assert pauses == [0.05, 0.1, 0.2]
    with pytest.raises(UsernetesError, match="no matches"):
        supervisor._persistently(refuse(100), lambda: True)
    with pytest.raises(UsernetesError, match="no matches"):
        supervisor._persistently(refuse(1), lambda: False)
