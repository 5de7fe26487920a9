"""One process at a time: a lock in a folder that several hosts may share, and whose file system may know no locks.

`flock` where the file system has it: the kernel gives it back when its holder ends, however that comes. Lustre without
``-o flock`` and NFSv3 without lockd refuse it; there a file that names its holder is the lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from usernetes_deploy.errors import UsageError, UsernetesError

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold `path` as the lock of `what`. Raises `UsageError` that names the holder, `UsernetesError` when it cannot.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, held(Path(folder, "lock"), "cluster demo"):
    ...     with held(Path(folder, "lock"), "cluster demo"):
    ...         pass
    Traceback (most recent call last):
    usernetes_deploy.errors.UsageError: cluster demo is being changed by process ...
    """
    while True:
        with _opened(path) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _busy(what, path) from error
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise UsernetesError(error.strerror or str(error), tried=f"lock {path}") from error
                break
            # The one before us may have removed the file between our open and our lock.
            if not path.exists() or path.stat().st_ino != os.fstat(lock.fileno()).st_ino:
                continue
            lock.truncate(0)
            lock.write(_self())
            lock.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
    path.unlink(missing_ok=True)
    with _held_by_name(path.with_suffix(".owner"), what):
        yield


@contextlib.contextmanager
def _held_by_name(path: Path, what: str) -> Iterator[None]:
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            if not _has_ended(path):
                raise _busy(what, path, f"wait for it, or end that process; where it is gone: rm {path}") from error
            path.unlink(missing_ok=True)
            continue
        except OSError as error:
            raise UsernetesError(error.strerror or str(error), tried=f"make {path}") from error
        with os.fdopen(descriptor, "w") as lock:
            lock.write(_self())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
        return


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+")
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"write {path}") from error


def _self() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


def _has_ended(path: Path) -> bool:
    """Whether the holder was a process of this host that is no more; one of another host cannot be asked."""
    pid, _, host = _holder(path).partition(" on ")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return not Path(f"/proc/{pid}").exists()


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _busy(what: str, path: Path, remedy: str = "wait for it, or end that process") -> UsageError:
    return UsageError(
        f"{what} is being changed by process {_holder(path) or '(not named yet)'}",
        remedy=remedy,
    )
