"""The users of the tests on real clusters, all made before any test host.

A test host lays its own /etc over this machine's: users that are made later may not be seen there. No two users share
a subordinate id, so that a process can be told whose it is by its uid.
"""

from __future__ import annotations

import fcntl
import pwd
import subprocess
from pathlib import Path

# Numbers that `useradd` does not give by itself: known before the users are made.
NUMBERED = {"hpcfl": 60073, "hpcsh": 60074, "hpcsl": 60075}
OTHERS = ("hpcct", "hpcct2", "hpcth", "hpctn")
COUNT = 65536
FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


def user_id(name: str) -> int:
    """The uid of a user that may have to be made yet."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return NUMBERED[name]


def group_of(uid: int) -> int:
    """The group that this user logs in with: on a machine of many users it has another number than the user."""
    return pwd.getpwuid(uid).pw_gid


def make_users() -> None:
    """Make all test users that are not there; two suites that start at once wait for one another."""
    with Path("/run/lock/usernetes-test-users").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in (*NUMBERED, *OTHERS):
            _make(name)


def make_user(name: str) -> int:
    """Make one user with a home and subordinate ids, unless it is there; returns its uid."""
    make_users()
    with Path("/run/lock/usernetes-test-users").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make(name)
    return pwd.getpwnam(name).pw_uid


def subordinate(name: str) -> range:
    """The subordinate uids of a user. Raises `LookupError` where it has none."""
    for owner, first, count in _ranges(FILES[0]):
        if owner == name:
            return range(first, first + count)
    raise LookupError(f"{name} has no line in {FILES[0]}")


def _make(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        number = ["--uid", str(NUMBERED[name])] if name in NUMBERED else []
        argv = ["useradd", "--user-group", "--create-home", "--shell", "/bin/bash", "--password", "*", *number, name]
        subprocess.run(argv, check=True, capture_output=True)
    free = max([100000, *(first + count for file in FILES for _, first, count in _ranges(file))])
    for file in FILES:
        if name not in {owner for owner, _, _ in _ranges(file)}:
            text = file.read_text() if file.exists() else ""
            file.write_text(f"{text.rstrip()}\n{name}:{free}:{COUNT}\n".lstrip())


def _ranges(file: Path) -> list[tuple[str, int, int]]:
    lines = [line.split(":") for line in file.read_text().splitlines()] if file.exists() else []
    return [(owner, int(first), int(count)) for owner, first, count in lines]
