"""Where can a node live? Each candidate is tried: programs run there, overlay mounts work, and there is room."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from usernetes_deploy.facts.base import (
    Need,
    NotUnderstood,
    Problem,
    entries,
    number,
    pairs,
    size,
    warning,
)
from usernetes_deploy.paths import SOCKET_PATH_LIMIT, base_in

# The overlay try removes a file and replaces a directory: both need what home file systems lack (whiteouts, xattrs).
COMMAND = """
try_overlay='
try() {
  mount -t overlay -o "lowerdir=l,upperdir=u,workdir=w$1" overlay m || return 1
  { rm m/f && rm -r m/d && mkdir m/d && echo new > m/f; } && result=0 || result=1
  umount m; return $result
}
if error=$(try ,userxattr 2>&1); then echo userxattr
elif try "" >/dev/null 2>&1; then echo plain
else echo "$error"; fi
rm -rf l u w m
'
try_dir() {
  dir=$1; printf 'dir=%s\\n' "$dir"
  if [ ! -d "$dir" ]; then say state absent; return; fi
  say state present
  say stat "$(stat -c '%u %a' "$dir")"
  say fs "$(stat -f -c '%S %a %d %T' "$dir")"
  own=$dir/usernetes-$uid
  if [ -L "$own" ]; then say own symlink
  elif [ -e "$own" ]; then say own "$(stat -c '%u %a' "$own")"; else say own -; fi
  if ! work=$(mktemp -d "$dir/.usernetes.XXXXXX" 2>&1); then say write "$work"; say run -; say overlay -; return; fi
  cd "$work" || return
  say write works
  printf '#!/bin/sh\\n' > x; chmod 700 x
  if error=$(./x 2>&1); then say run works; else say run "$error"; fi
  if [ "$userns" != works ]; then say overlay -
  else
    mkdir l u w m l/d; echo old > l/f; echo old > l/d/f
    error=$(unshare -Urm sh -c "$try_overlay" 2>&1)
    say overlay "$error"
  fi
  cd /; rm -rf "$work"
}
if [ -n "$need_node_dir" ]; then try_dir "$need_node_dir"
else
  seen=' '
  for dir in /var/tmp "${TMPDIR:-}" /tmp "${XDG_RUNTIME_DIR:-}"; do
    dir=${dir%/}
    case $dir in /*) case $seen in *" $dir "*) ;; *) seen="$seen$dir "; try_dir "$dir" ;; esac ;; esac
  done
fi
"""

NETWORK_TYPES = {"nfs", "lustre", "gpfs", "panfs", "cifs", "smb", "smb2", "ceph", "afs", "gfs/gfs2", "ocfs2", "v9fs"}
MEMORY_TYPES = {"tmpfs", "ramfs"}
KEYS = ("dir", "state", "stat", "fs", "own", "write", "run", "overlay")


@dataclass(frozen=True)
class Directory:
    """A candidate. `free` is bytes; `overlay` is "userxattr", "plain" or the reason why it does not work."""

    path: str
    present: bool
    owner: int = -1
    mode: str = ""
    fs: str = ""
    free: int = 0
    free_inodes: int = 0
    own: str = ""
    write_error: str = ""
    run_error: str = ""
    overlay: str = ""

    @property
    def overlay_works(self) -> bool:
        """An overlay in a user namespace can be made here."""
        return self.overlay in {"userxattr", "plain"}


@dataclass(frozen=True)
class NodeDisk:
    """The candidates in the order of preference, and the uid that was tried with."""

    directories: tuple[Directory, ...]


@dataclass(frozen=True)
class Choice:
    """The directory that nodes go to ("" when none is fit), why it, and what each other one lacks."""

    path: str
    why: str
    refused: tuple[tuple[str, str], ...] = ()


def parse(text: str) -> NodeDisk:
    """Read the answer."""
    groups: list[list[str]] = []
    for key, value in entries("node_disk", text, KEYS):
        if key == "dir":
            groups.append([])
        elif not groups:
            raise NotUnderstood("node_disk", f"{key}={value}", "before its directory")
        groups[-1].append(f"{key}={value}")
    return NodeDisk(tuple(_directory("\n".join(group)) for group in groups))


def _directory(text: str) -> Directory:
    if "state=absent" in text.splitlines():
        return Directory(pairs("node_disk", text, ["dir", "state"])["dir"], present=False)
    answer = pairs("node_disk", text, KEYS)
    owner = re.fullmatch(r"(\d+) ([0-7]+)", answer["stat"])
    fs = re.fullmatch(r"(\d+) (\d+) (\d+) (.+)", answer["fs"])
    if not owner:
        raise NotUnderstood("node_disk", f"stat={answer['stat']}")
    if not fs:
        raise NotUnderstood("node_disk", f"fs={answer['fs']}")
    return Directory(
        answer["dir"],
        present=True,
        owner=number("node_disk", "stat", owner[1]),
        mode=owner[2],
        fs=fs[4],
        free=int(fs[1]) * int(fs[2]),
        free_inodes=int(fs[3]),
        own="" if answer["own"] == "-" else answer["own"],
        write_error="" if answer["write"] == "works" else answer["write"],
        run_error="" if answer["run"] in {"works", "-"} else answer["run"],
        overlay="" if answer["overlay"] == "-" else answer["overlay"],
    )


def lacks(directory: Directory, need: Need, uid: int) -> str:
    """Why no node can live in `directory`, or ""."""
    checks = (
        (not directory.present, "does not exist"),
        (bool(directory.write_error), f"is not writable ({directory.write_error})"),
        (directory.fs in NETWORK_TYPES, f"is on a network file system ({directory.fs})"),
        (bool(directory.run_error), f"does not run programs (noexec? {directory.run_error})"),
        (
            bool(directory.overlay) and not directory.overlay_works,
            f"({directory.fs}) has no overlay mounts for users ({directory.overlay})",
        ),
        (directory.free < need.disk, f"has {size(directory.free)} free, {size(need.disk)} are needed"),
        (
            len(directory.path.encode()) + need.socket_tail > SOCKET_PATH_LIMIT,
            f"is {len(directory.path.encode())} bytes long; sockets in it would pass the limit of "
            f"{SOCKET_PATH_LIMIT} bytes (at most {SOCKET_PATH_LIMIT - need.socket_tail} fit)",
        ),
        (
            bool(directory.own) and directory.own.split()[0] != str(uid),
            f"has a usernetes-{uid} that is not this user's own ({directory.own})",
        ),
        (
            _open_to_others(directory.own),
            f"has a usernetes-{uid} that others may write to (chmod 700 {base_in(Path(directory.path), uid)})",
        ),
    )
    return next((reason for failed, reason in checks if failed), "")


def _open_to_others(own: str) -> bool:
    """Whether ``UID MODE`` lets more than the owner exchange what lies there."""
    mode = own.partition(" ")[2]
    return bool(mode) and bool(int(mode, 8) & 0o022)


def choose(answer: NodeDisk, need: Need, uid: int) -> Choice:
    """The first candidate that lacks nothing; one on disk before one in memory."""
    fit = []
    refused = []
    for directory in answer.directories:
        reason = lacks(directory, need, uid)
        if reason:
            refused.append((directory.path, reason))
        else:
            fit.append(directory)
    if not fit:
        return Choice("", "no directory is fit", tuple(refused))
    best = min(fit, key=lambda directory: directory.fs in MEMORY_TYPES)
    where = "in memory" if best.fs in MEMORY_TYPES else "node-local"
    return Choice(best.path, f"{where} ({best.fs}), {size(best.free)} free", tuple(refused))


def judge(answer: NodeDisk, need: Need, uid: int) -> list[Problem]:
    """One of them must be fit."""
    choice = choose(answer, need, uid)
    if not choice.path:
        remedy = "give a node-local directory that you may write to: storage.nodeDirectory in the spec"
        return [Problem(f"{path} {reason}", remedy) for path, reason in choice.refused]
    best = next(directory for directory in answer.directories if directory.path == choice.path)
    if best.fs in MEMORY_TYPES:
        return [
            warning(
                f"the node lives in memory: {best.path} is {best.fs}",
                "give a directory on a disk: storage.nodeDirectory in the spec",
            )
        ]
    return []
