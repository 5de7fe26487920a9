"""The lock where the file system knows no locks: a file that names its holder and the holder's host."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from usernetes_deploy.cluster.lock import held
from usernetes_deploy.errors import UsageError, UsernetesError


def refuse(number: int) -> object:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    busy = pytest.raises(UsageError, match=f"process {os.getpid()} on {socket.gethostname()}")
    with held(tmp_path / "lock", "cluster demo"), busy, held(tmp_path / "lock", "cluster demo"):
        pytest.fail("held twice")
    assert not list(tmp_path.iterdir())


def test_a_holder_that_was_killed_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOSYS))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "lock.owner").write_text(f"{ended.pid} on {socket.gethostname()}")
    with held(tmp_path / "lock", "cluster demo"):
        pass


def test_a_holder_on_another_host_is_named_with_what_to_do_when_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    (tmp_path / "lock.owner").write_text("1 on another-host")
    with (
        pytest.raises(UsageError, match="1 on another-host") as caught,
        held(tmp_path / "lock", "cluster demo"),
    ):
        pytest.fail("held twice")
    assert f"rm {tmp_path}/lock.owner" in str(caught.value)


def test_another_reason_is_said_in_the_kernels_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(UsernetesError, match="Input/output error"), held(tmp_path / "lock", "cluster demo"):
        pytest.fail("held")
