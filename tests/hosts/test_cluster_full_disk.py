"""A node whose disk others fill: `status` says so, by how much, and when the cluster is not well for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.clusters import Account, bring_up, wait_for
from tests.users import group_of

pytestmark = pytest.mark.cluster
SIZE = 2300 << 20  # `up` wants 2 GiB


@pytest.fixture
def small_disk(account: Account) -> Iterator[Path]:
    folder = account.home / "small"
    folder.mkdir()
    owner = f"uid={account.uid},gid={group_of(account.uid)},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},{owner}", "small", str(folder)], check=True)
    yield folder
    account.usernetes("down", "--cluster", "full")
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path, leave: int) -> None:
    """Leave so many bytes of the disk."""
    disk = os.statvfs(folder)
    with (folder / "somebody-elses").open("ab") as file:
        end = file.seek(0, os.SEEK_END) + disk.f_bavail * disk.f_frsize - leave
        os.posix_fallocate(file.fileno(), 0, end)


def test_a_disk_is_named_from_ninety_per_cent_on_and_a_full_one_is_not_well(account: Account, small_disk: Path) -> None:
    settings = ("--set", f"storage.nodeDirectory={small_disk}", "--set", "eviction.disk=0")
    cluster = bring_up(account, "full", *settings)
    folder = cluster.node_folder()
    assert str(folder).startswith(str(small_disk))
    assert f"the disk of {folder}" not in cluster.usernetes("status").stdout

    fill(small_disk, leave=150 << 20)
    done = cluster.usernetes("status")
    assert done.returncode == 0, done.stdout
    assert f"node0: the disk of {folder} is 94 % full (" in done.stdout, done.stdout

    fill(small_disk, leave=1 << 20)
    done = cluster.usernetes("status")
    assert done.returncode == 1
    assert f"node0: the disk of {folder} is FULL (" in done.stdout, done.stdout

    (small_disk / "somebody-elses").unlink()
    wait_for(lambda: cluster.status()["healthy"], "the cluster is well when there is room again")
