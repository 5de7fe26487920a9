"""The node's own file system, as far as it can be had without a user namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.errors import CommandFailed
from usernetes_deploy.node import filesystem


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copied-up folder: what it holds are links to what the host has."""
    host, top = tmp_path / "host", tmp_path / "top"
    (host / "cni").mkdir(parents=True)
    (host / "cni" / "theirs.conf").write_text("")
    top.mkdir()
    (top / "cni").symlink_to(host / "cni")
    monkeypatch.setattr(filesystem, "COPIED_UP", (str(top),))
    return top


def test_a_link_to_the_hosts_folder_becomes_a_folder_of_the_nodes_own(top: Path, tmp_path: Path) -> None:
    filesystem.own_directory(top / "cni" / "net.d")
    assert not (top / "cni").is_symlink()
    assert (top / "cni" / "net.d").is_dir()
    assert [path.name for path in (tmp_path / "host" / "cni").iterdir()] == ["theirs.conf"]


def test_a_folder_that_is_there_keeps_what_it_holds(top: Path) -> None:
    filesystem.own_directory(top / "run")
    (top / "run" / "file").write_text("")
    filesystem.own_directory(top / "run")
    assert (top / "run" / "file").exists()


def test_links_elsewhere_are_left_alone(top: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(top)
    filesystem.own_directory(link / "new")
    assert link.is_symlink()
    assert (top / "new").is_dir()


def test_a_mount_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=f"mount --bind {tmp_path}/none {tmp_path}/no"):
        filesystem.mount("--bind", str(tmp_path / "none"), str(tmp_path / "no"))
