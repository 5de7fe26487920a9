"""How much a node has left of its disk and memory: looked at cheaply, so that its kubelet need not until it matters.

A kubelet that may evict measures the files of every pod again and again, at rest too. Ours begins to when little is
left: it is started again with `limits`, which pods do not notice, and stays so.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from usernetes_deploy.node.cgroups import MOUNT
from usernetes_deploy.node.config import NodeConfig

NEVER = "0"
LOOK = 10.0  # seconds between looks
DU_SECONDS = 5.0  # for measuring what takes the space; who asks for the status waits for it
# So much above the limit the kubelet begins to watch: more than a disk takes in between two looks, in bytes.
AHEAD_ON_DISK = 8 << 30
AHEAD_IN_MEMORY = 8  # one such part of the host's
MARGIN = 512 << 20  # bytes that may be filled while a kubelet starts
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
NEARLY_FULL = 90  # per cent, from which on people are told what fills the disk
FULL = 64 << 20  # bytes: etcd's next log would not fit
QUANTITY = re.compile(r"(\d+)(|[KMGT]i)")


def in_bytes(quantity: str) -> int:
    """
    >>> in_bytes("1Gi"), in_bytes("0")
    (1073741824, 0)
    """
    found = QUANTITY.fullmatch(quantity)
    if not found:
        raise ValueError(f"expected a size as 500Mi or 2Gi, got {quantity!r}")
    return int(found[1]) * UNITS[found[2]]


class Left(NamedTuple):
    """What is left of one thing, in bytes, and the limit below which pods have to go; `ahead`: when to begin to watch.

    `signals` are the kubelet's names of it.
    """

    words: str
    left: int
    limit: int
    ahead: int
    signals: tuple[str, ...]


def look(config: NodeConfig, cgroup: Path = MOUNT) -> list[Left]:
    """What the node has left of all that has a limit.

    Memory is counted where the node has a cgroup of its own; elsewhere it would be the use of all of the host's users.
    """
    found = []
    if config.eviction_disk != NEVER:
        disk = os.statvfs(config.root)
        left = disk.f_bavail * disk.f_frsize
        signals = ("nodefs.available", "imagefs.available")
        found.append(Left("disk", left, in_bytes(config.eviction_disk), AHEAD_ON_DISK, signals))
    if config.eviction_memory != NEVER and config.cgroups == "delegated":
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        left = max(0, whole - in_use(cgroup))
        limit = in_bytes(config.eviction_memory)
        found.append(Left("memory", left, limit, whole // AHEAD_IN_MEMORY, ("memory.available",)))
    return found


def short_of(config: NodeConfig, cgroup: Path = MOUNT) -> str:
    """What there is so little left of that the kubelet has to watch it, in words; "" while there is enough."""
    short = [one for one in look(config, cgroup) if one.left < one.limit + one.ahead]
    return ", ".join(f"{one.left / (1 << 30):.1f} GiB of {one.words} are left" for one in short)


def limits(config: NodeConfig, cgroup: Path = MOUNT) -> dict[str, int]:
    """The limits for a kubelet that starts now; where one is reached already, or nearly, it is half of what is left.

    A kubelet that finds itself below a limit when it starts takes in no pod that runs already: all of them end.
    """
    return {
        name: one.limit if one.left >= one.limit + MARGIN else one.left // 2
        for one in look(config, cgroup)
        for name in one.signals
    }


def disk(config: NodeConfig) -> dict[str, Any]:
    """The disk of the node's folder: sizes in bytes, and what the folder's parts take when the disk is nearly full.

    ::

        {"path": "/var/tmp/usernetes-1000/ab-0", "size": 1 << 30, "left": 4096, "percent": 100, "full": True,
         "parts": {"containerd": 12 << 20, "logs": 8192}}
    """
    found = os.statvfs(config.root)
    used, left = (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_bavail * found.f_frsize
    percent = math.ceil(100 * used / (used + left)) if used + left else 100  # as df counts
    return {
        "path": str(config.root),
        "size": found.f_blocks * found.f_frsize,
        "left": left,
        "percent": percent,
        "full": left < FULL,
        "parts": parts(config.root) if percent >= NEARLY_FULL or left < FULL else {},
    }


def parts(root: Path) -> dict[str, int]:
    """What each folder in `root` takes of its disk, in bytes, the largest first."""
    folders = sorted(str(path) for path in root.iterdir() if path.is_dir())
    # Some vanish while they are measured; what is there is what counts.
    argv = ["du", "-skx", "--", *folders]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=DU_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    sizes = {
        Path(path).name: int(size) << 10 for size, _, path in (s.partition("\t") for s in done.stdout.splitlines())
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def in_use(cgroup: Path) -> int:
    """Bytes of memory that a cgroup (v2) could not do without: as the kubelet counts, without files not used lately."""
    stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    return max(0, int((cgroup / "memory.current").read_text()) - int(stat["inactive_file"]))
