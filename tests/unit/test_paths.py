"""Who else could exchange what lies in a folder, and how long the paths of sockets get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from usernetes_deploy import paths


@pytest.mark.parametrize(("mode", "who"), [(0o700, ""), (0o755, ""), (0o707, "everybody"), (0o777, "everybody")])
def test_who_else_writes_to_a_folder(tmp_path: Path, mode: int, who: str) -> None:
    tmp_path.chmod(mode)
    assert paths.who_else_writes(tmp_path.stat()) == who


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to a group needs root")
def test_a_group_with_other_members_is_somebody_else_and_a_users_own_is_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    os.chown(tmp_path, 0, 1)
    assert paths.who_else_writes(tmp_path.stat()) == "its group (daemon)"
    os.chown(tmp_path, 0, 54321)
    assert paths.who_else_writes(tmp_path.stat()) == "its group (gid 54321)"
    os.chown(tmp_path, 0, 0)
    assert paths.who_else_writes(tmp_path.stat()) == ""


def test_the_longest_socket_of_a_node_is_counted_in_bytes() -> None:
    path = f"/data/usernetes-{2**32 - 2}/abcd-12/{paths.LONGEST_SOCKET}"
    assert paths.longest_socket_tail("abcd-12") == len(path) - len("/data")
