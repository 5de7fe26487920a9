"""The node's folder on the host's disk: made, checked, found, locked, removed.

Whoever could write to it could have any program run in the user's name, so every path from outside goes through
`check`: no symbolic link, the user's own, writable by nobody else; the user's folder above it as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node.config import NodeConfig
from usernetes_deploy.paths import LONGEST_SOCKET, SOCKET_PATH_LIMIT, base_in, who_else_writes

OF_A_JOB = "of-a-job"  # marks the folder of a node that ends with its batch job
LOCK = "keeper.lock"  # held by the keeper as long as it lives
WHOSE = "whose.json"  # of which cluster a node's folder is
KEEPER = "keeper.json"  # the keeper's process
STOPPED = ".stopped-"  # followed by a node's name: its start, should it still come, makes no node
REMEMBERED = 3600.0  # seconds that a stop before the start is remembered: longer than any start is under way


def check(folder: Path, node: str | None = None) -> bool:
    """Whether `folder` is there; raises `UsernetesError` when it, or the one above, is not the user's alone."""
    return all(_is_own(path, node) for path in (folder.parent, folder))


def _is_own(path: Path, node: str | None) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), node=node, tried=f"look at {path}") from error
    if status.st_uid != os.getuid():
        raise UsernetesError(f"{path} belongs to uid {status.st_uid}", node=node)
    if not stat.S_ISDIR(status.st_mode):
        raise UsernetesError(f"{path} is not a folder", node=node, remedy=f"remove it: rm {path}")
    writer = who_else_writes(status)
    if writer:
        raise UsernetesError(f"{writer} may write to {path}", node=node, remedy=f"chmod go-w {path}")
    return True


def read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file of a checked folder; None when there is none that is the user's own."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            status = os.fstat(descriptor)
            if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
                return None
            document = json.load(file)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def make(config: NodeConfig) -> None:
    """Make the node's folder; raises `UsernetesError` when it is not ours alone or its path is too long."""
    if len(os.fsencode(config.root / LONGEST_SOCKET)) > SOCKET_PATH_LIMIT:
        raise UsernetesError(
            f"{config.root} is too long for the unix sockets in it ({SOCKET_PATH_LIMIT} bytes)",
            node=config.name,
            remedy="set storage.nodeDirectory to a shorter node-local folder",
        )
    before = os.umask(0o077)  # of the folders in between as well
    try:
        for folder in (config.root.parent, config.root, config.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _is_own(folder, config.name)
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), node=config.name, tried=f"make {config.root}") from error
    finally:
        os.umask(before)


def lock(root: Path) -> int:
    """Open and lock a checked node folder; returns the descriptor. `BlockingIOError`: a keeper holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(root / LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def places(further: Path | None = None) -> Iterator[Path]:
    """The user's folders on this host that may hold nodes and bundles: the usual ones, and that in `further`."""
    named = (os.environ.get("TMPDIR"), os.environ.get("XDG_RUNTIME_DIR"), further)
    for place in dict.fromkeys([Path("/var/tmp"), Path("/tmp"), *(Path(name) for name in named if name)]):
        yield base_in(place, os.getuid())


def find(further: Path | None = None) -> list[dict[str, Any]]:
    """The user's nodes on this host, running or not: ``[{"directory": ..., "cluster": ..., "bundle": ...}]``.

    They are looked for in the usual places, and in `further`. What another user has put there is passed over.
    """
    found = []
    for base in places(further):
        for marker in sorted(base.glob(f"*-*/{WHOSE}")):
            with contextlib.suppress(UsernetesError):
                whose = read(marker) if check(marker.parent) else None
                if whose:
                    found.append({"directory": str(marker.parent), **whose})
    return found


def remember_stop(root: Path) -> None:
    """Leave word that the node of `root` was stopped before its start came; old words of this kind go."""
    before = os.umask(0o077)
    try:
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check(root)
        forget_stops(root.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(root.with_name(STOPPED + root.name), flags, 0o600))
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"leave word in {root.parent}") from error
    finally:
        os.umask(before)


def was_stopped(root: Path) -> bool:
    """Whether the node of `root` was stopped before its start came."""
    forget_stops(root.parent)
    return os.path.lexists(root.with_name(STOPPED + root.name))


def forget_stops(base: Path) -> None:
    """Remove the words of stops whose start can no longer come."""
    for word in base.glob(f"{STOPPED}*"):
        with contextlib.suppress(OSError):
            if time.time() - word.lstat().st_mtime > REMEMBERED:
                word.unlink()


def sweep(base: Path, rootlesskit: str) -> None:
    """Remove the folders that nodes of killed jobs left in `base`: marked as a job's, and no keeper holds the lock."""
    for marker in base.glob(f"*/{OF_A_JOB}"):
        with contextlib.suppress(OSError, UsernetesError):
            if check(marker.parent):
                descriptor = lock(marker.parent)
                try:
                    remove(marker.parent, rootlesskit)
                finally:
                    os.close(descriptor)


def remove(directory: Path, rootlesskit: str) -> None:
    """Remove a node's folder, files of the pods' users included: those only a user namespace may delete."""
    if not check(directory):
        return
    _make_writable(directory)
    subprocess.run(["rm", "-rf", str(directory)], check=False, capture_output=True)
    if directory.exists():
        state = directory.with_name(f".rm-{directory.name}-{os.getpid()}")  # a keeper may be at it as well
        done = subprocess.run(
            [rootlesskit, f"--state-dir={state}", "--net=host", "rm", "-rf", str(directory)],
            check=False,
            capture_output=True,
            text=True,
        )
        shutil.rmtree(state, ignore_errors=True)
        if directory.exists():
            raise UsernetesError(done.stderr.strip()[-400:] or "still there", tried=f"remove {directory}")


def of_shared_volumes(shared: Path) -> Path:
    """The user's folder of volumes in a directory that others may well enter: volumes are open to any uid, this is not.

    Made when it is not there. ``usernetes-volumes``, as it was called before, is taken while it is the user's alone.
    Raises `UsernetesError` when it is another user's, a link, or open to others.
    """
    before = shared / "usernetes-volumes"
    folder = shared / f"usernetes-volumes-{os.getuid()}"
    try:
        if not os.path.lexists(folder) and _private(before.lstat()):
            return before
    except OSError:
        pass
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"make {folder}") from error
    if not _private(status):
        raise UsernetesError(
            f"{folder} is not a folder that only you may enter (uid {status.st_uid}, mode {status.st_mode & 0o7777:o})",
            remedy=f"chmod 700 {folder}" if status.st_uid == os.getuid() else "choose another storage.shared",
        )
    return folder


def _private(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _make_writable(directory: Path) -> None:
    """overlayfs leaves ``work`` folders without any permission; their owner may still take it."""
    for path in (directory / "containerd").glob("io.containerd.snapshotter.v1.overlayfs/snapshots/*/work/work"):
        with contextlib.suppress(OSError):
            path.chmod(stat.S_IRWXU)
