"""Where a user's nodes, bundles and programs lie on a host, and who else could exchange them there.

Everything of one user is below one folder a place: ``/var/tmp/usernetes-1000``. Nodes use this module too, so it needs
the standard library alone and runs on Python 3.9.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

SOCKET_PATH_LIMIT = 107
"""Bytes of the longest path that a unix socket can be bound to (`sun_path` less its closing zero)."""

LONGEST_SOCKET = "rk/.bridge.sock.lock"
"""The longest path of a socket in a node's folder."""

# For scripts that run before there is a node program: `own_base DIR` makes the user's folder in DIR, refuses one that
# is not the user's alone, and sets $base.
OWN_BASE = r"""
umask 077
own_base() {
  base=${1%/}/usernetes-$(id -u)
  mkdir "$base" 2>/dev/null || [ -e "$base" ] || [ -L "$base" ] || { mkdir "$base"; return 1; }
  if [ -L "$base" ] || [ ! -d "$base" ] || [ ! -O "$base" ]; then
    echo "$base belongs to somebody else" >&2; return 4
  fi
  chmod 700 "$base"
}
"""


def base_in(place: Path, uid: int) -> Path:
    """The folder of a user's nodes, bundles and programs in `place`.

    >>> base_in(Path("/var/tmp"), 1000)
    PosixPath('/var/tmp/usernetes-1000')
    """
    return place / f"usernetes-{uid}"


def longest_socket_tail(node: str) -> int:
    """Bytes that the longest socket path of the node folder `node` adds to the place where it is, for any user.

    >>> longest_socket_tail("abcd1234-1023")
    56
    """
    return len(os.fsencode(base_in(Path("/"), 2**32 - 2) / node / LONGEST_SOCKET))


def who_else_writes(status: os.stat_result) -> str:
    """Who besides its owner may write to a file or folder, in words; "" when nobody may.

    A group that is the owner's own (of the same name, without other members) is nobody else.
    """
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and not _private_group(status.st_uid, status.st_gid):
        return f"its group ({_group_name(status.st_gid)})"
    return ""


def _private_group(uid: int, gid: int) -> bool:
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
