"""A node's own cgroup (v2), where the user may divide one: the user's systemd or the batch system delegated it.

A cgroup with processes of its own cannot hand controllers on, so what was delegated is divided first::

    DELEGATED/usernetes-outside     every process that was in it: the keeper, and a job's shell
    DELEGATED/usernetes-f2kx-1      the node: root of its cgroup namespace, and what /sys/fs/cgroup shows in it
              .../usernetes         rootlesskit and the node's own processes (rootlesskit moves them there)
              .../kubepods          the pods
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

from usernetes_deploy.errors import CommandFailed, UsernetesError

MOUNT = Path("/sys/fs/cgroup")
OUTSIDE = "usernetes-outside"
INSIDE = "usernetes"
WANTED = ("cpu", "memory", "pids")
TRIES = 50  # processes may start others while they are moved
PATIENCE = 5.0  # seconds for killed processes to leave


def own() -> Path:
    """The cgroup of this process."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        if line.startswith("0::"):
            return MOUNT / line[3:].lstrip("/")
    raise OSError("this process is in no cgroup of version 2")


def divide(node: str) -> Path:
    """Make the delegated cgroup ready to carry the node named `node` (as ``f2kx-1``); returns where that one goes.

    Raises `UsernetesError` when this is not ours to divide.
    """
    try:
        here = own()
        top = here.parent if here.name == OUTSIDE else here
        _empty(top, top / OUTSIDE)
        _hand_on(top)
    except OSError as error:
        raise UsernetesError(
            f"{error.strerror or error}: {error.filename or MOUNT}",
            tried="divide the delegated cgroup among the node and its pods",
            remedy="usernetes check tells what this host delegates",
        ) from error
    return top / f"usernetes-{node}"


def most_pids(cgroup: Path) -> int:
    """How many processes and threads fit into a cgroup by its own limit and those above it; 0: as many as can be."""
    found = []
    for folder in (cgroup, *cgroup.parents):
        with contextlib.suppress(OSError, ValueError):  # the root has no limit, and "max" is none
            found.append(int((folder / "pids.max").read_text()))
        if folder == MOUNT:
            break
    return min(found, default=0)


def _empty(top: Path, outside: Path) -> None:
    """Move every process of `top` to `outside`; raises `OSError`."""
    for _ in range(TRIES):
        left = (top / "cgroup.procs").read_text().split()
        if not left:
            return
        outside.mkdir(exist_ok=True)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                (outside / "cgroup.procs").write_text(pid)
    raise OSError(f"processes stay in {top}")


def _hand_on(top: Path) -> None:
    """Hand all controllers on to what is below `top`; raises `OSError` when one that pods need is refused."""
    for controller in (top / "cgroup.controllers").read_text().split():
        try:
            (top / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            if controller in WANTED:
                raise


def renew(cgroup: Path) -> None:
    """Make the node's cgroup, without what an earlier process tree of the node left; raises `OSError`."""
    remove(cgroup)
    cgroup.mkdir()


def remove(cgroup: Path) -> None:
    """Remove a node's cgroup whose processes have ended; raises `OSError` when they have not."""
    ends = time.monotonic() + PATIENCE
    for folder, _, _ in os.walk(cgroup, topdown=False):
        while True:
            try:
                Path(folder).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.02)
            else:
                break


def enter(cgroup: Path) -> None:
    """Put this process there (called between fork and exec)."""
    (cgroup / "cgroup.procs").write_text("0")


def show() -> None:
    """Inside the node: /sys/fs/cgroup becomes the node's own cgroup, as the root of all there is.

    rootlesskit leaves the host's there when the network namespace is a detached one, and then kubepods would be made at
    the host's root. Raises `CommandFailed`.
    """
    # The kernel mounts no file system on itself, hence something else between.
    for kind in ("tmpfs", "cgroup2"):
        argv = ["mount", "-t", kind, kind, str(MOUNT)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stderr)
