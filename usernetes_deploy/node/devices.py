"""Device files offered to pods: what of the spec does not fit this host."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")


def problems(devices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each path that cannot be offered; the resource is then shown with 0 allocatable.

    >>> problems([{"name": "x", "paths": ["/dev/nothing*", "/dev"], "count": 1}])
    ['device x: /dev/nothing* matches nothing on this host', 'device x: /dev is a directory, no device file']
    """
    found = []
    for device in devices:
        for pattern in device["paths"]:
            why = _cdi_problem(pattern) if pattern.startswith("cdi:") else _path_problem(pattern)
            if why:
                found.append(f"device {device['name']}: {why}")
    return found


def _path_problem(pattern: str) -> str:
    paths = sorted(glob.glob(pattern))  # noqa: PTH207  absolute patterns
    if not paths:
        return f"{pattern} matches nothing on this host"
    for path in paths:
        mode = Path(path).stat().st_mode
        if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            return f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'a file'}, no device file"
        if not os.access(path, os.R_OK | os.W_OK):
            return f"{path} is not accessible to the user"
    return ""


def _cdi_problem(pattern: str) -> str:
    if any(next(Path(folder).glob("*"), None) for folder in CDI_FOLDERS):
        return ""
    return f"{pattern} needs a vendor's file in {' or '.join(CDI_FOLDERS)}"
