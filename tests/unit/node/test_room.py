"""What a node has left: when its kubelet has to begin to watch over it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.node import room
from usernetes_deploy.node.process import Component
from usernetes_deploy.node.supervisor import Supervisor

GIB = 1 << 30


def disk_with(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=9))


def test_a_disk_is_watched_before_the_limit_is_reached_and_not_while_there_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(10 * GIB, monkeypatch)
    assert room.short_of(config(tmp_path)) == ""
    assert room.short_of(config(tmp_path, eviction_disk="3Gi")) == "10.0 GiB of disk are left"
    disk_with(4 * GIB, monkeypatch)
    assert room.short_of(config(tmp_path)) == "4.0 GiB of disk are left"
    assert room.short_of(config(tmp_path, eviction_disk="0")) == ""


def test_a_kubelet_that_starts_is_never_below_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_with(4 * GIB, monkeypatch)
    assert room.limits(config(tmp_path)) == {"nodefs.available": GIB, "imagefs.available": GIB}
    disk_with(GIB, monkeypatch)
    assert room.limits(config(tmp_path)) == {"nodefs.available": GIB // 2, "imagefs.available": GIB // 2}
    assert room.limits(config(tmp_path, eviction_disk="0")) == {}


def test_of_memory_what_the_nodes_own_cgroup_uses_counts_without_its_idle_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(100 * GIB, monkeypatch)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 8 * GIB // 4096, "SC_PAGE_SIZE": 4096}.__getitem__)
    (tmp_path / "memory.current").write_text(f"{7 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {5 * GIB}\n")
    mine = config(tmp_path, cgroups="delegated")
    assert room.short_of(mine, tmp_path) == ""
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 0\n")
    assert room.short_of(mine, tmp_path) == "1.0 GiB of memory are left"
    assert room.limits(mine, tmp_path)["memory.available"] == 100 << 20
    assert room.short_of(config(tmp_path), tmp_path) == ""
    assert "memory.available" not in room.limits(config(tmp_path), tmp_path)


def test_what_fills_a_disk_is_measured_only_when_it_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "containerd").mkdir()
    (tmp_path / "containerd" / "layer").write_bytes(b"x" * (1 << 20))

    def filled(blocks: int) -> None:
        answer = SimpleNamespace(f_blocks=100000, f_bfree=100000 - blocks, f_bavail=99000 - blocks, f_frsize=4096)
        monkeypatch.setattr(os, "statvfs", lambda _: answer)

    filled(80000)
    found = room.disk(config(tmp_path))
    assert (found["percent"], found["full"], found["parts"]) == (81, False, {})
    filled(90000)
    monkeypatch.setattr(room, "FULL", 16 << 20)
    found = room.disk(config(tmp_path))
    assert (found["percent"], found["full"], found["left"]) == (91, False, 9000 * 4096)
    assert list(found["parts"]) == ["containerd", "logs"]
    assert found["parts"]["containerd"] >= 1 << 20
    filled(99000)
    assert (room.disk(config(tmp_path))["percent"], room.disk(config(tmp_path))["full"]) == (100, True)


@pytest.mark.parametrize("quantity", ["", "5%", "1G", "-1Gi", "1.5Gi"])
def test_what_is_no_size_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        room.in_bytes(quantity)


def test_when_little_is_left_the_kubelet_is_started_again_once_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Supervisor(config(tmp_path), tmp_path / "netns")
    looks, told = ["", "", "3.0 GiB are free"], []
    monkeypatch.setattr(room, "LOOK", 0.0)
    monkeypatch.setattr(room, "short_of", lambda _: looks.pop(0))
    monkeypatch.setattr(Component, "restart", lambda self, why: told.append((self.name, why)))
    for name in ("containerd", "kubelet"):
        node.status.components[name] = Component(name, [], log=tmp_path / "log")
    node._images.set()
    node._watch_room()
    words = "3.0 GiB are free: from now on it watches over that"
    assert told == [("containerd", words), ("kubelet", words)]
    assert (looks, node._watching) == ([], True)
