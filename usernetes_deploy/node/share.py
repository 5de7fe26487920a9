"""What of its host belongs to the node's job, where a batch system says so but holds nobody to it.

The launcher says it with ``--share`` when it starts the node; the keeper acts on it once, before anything else runs.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from usernetes_deploy import cpus
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node.config import NodeConfig

CPU_FOLDER = Path("/sys/devices/system/cpu")


class Share(NamedTuple):
    """The job's part of one host; what is left at its default is not limited.

    `cpus` are numbers among `of_cpus`, counted as batch systems do: by package, core, thread, or by package and core
    alone (see `kernel_cpus`). `memory` is in bytes. `devices` is offered to pods beside those of the spec, in the same
    form; `others` are device files that belong to other jobs.

    >>> Share.from_text(Share(cpus="0-1", of_cpus=8).to_text())
    Share(cpus='0-1', of_cpus=8, memory=0, devices=(), others=())
    """

    cpus: str = ""
    of_cpus: int = 0
    memory: int = 0
    devices: tuple[dict[str, Any], ...] = ()
    others: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The value of ``--share``; it says nothing secret."""
        return json.dumps({name: value for name, value in self._asdict().items() if value})

    @classmethod
    def from_text(cls, text: str) -> Share:
        """Read the value of ``--share``. Raises `UsernetesError` for what no launcher wrote."""
        try:
            said = cls(**json.loads(text))
            return said._replace(devices=tuple(said.devices), others=tuple(said.others))
        except (ValueError, TypeError) as error:
            raise UsernetesError(f"not understood: {error}", tried=f"--share={text}") from error


def apply(share: Share, config: NodeConfig) -> NodeConfig:
    """Hold this process to the job's CPUs, and say in the configuration what the node may offer.

    Where the site has held us to some CPUs already, we stay within them; where the batch system counts other CPUs than
    the kernel has, nobody can say which ones are the job's: then only their number is kept to.
    """
    count = 0
    if share.cpus:
        count = len(cpus.parse(share.cpus))
        mine = kernel_cpus(share.cpus, share.of_cpus, cores_of(CPU_FOLDER)) & os.sched_getaffinity(0)
        if mine:
            os.sched_setaffinity(0, mine)
            count = 0  # what we are held to says it better
    return config._replace(job_cpus=count, job_memory=share.memory, devices=offered(config.devices, share))


def kernel_cpus(numbers: str, total: int, cores: Sequence[Sequence[int]]) -> frozenset[int]:
    """The kernel's numbers of the CPUs that a batch system, which knows `total` of them, calls `numbers`.

    `cores` are the host's cores in order, each with its threads. Nothing when `total` fits neither threads nor cores.

    >>> two_threads_each = [(0, 4), (1, 5), (2, 6), (3, 7)]
    >>> sorted(kernel_cpus("0-1", 8, two_threads_each))
    [0, 4]
    >>> sorted(kernel_cpus("0-1", 4, two_threads_each))
    [0, 1, 4, 5]
    >>> sorted(kernel_cpus("0-1", 6, two_threads_each))
    []
    """
    threads = [(cpu,) for core in cores for cpu in core]
    units: Sequence[Sequence[int]] = threads if total == len(threads) else cores if total == len(cores) else []
    chosen = cpus.parse(numbers)
    return frozenset(cpu for number, unit in enumerate(units) if number in chosen for cpu in unit)


def cores_of(folder: Path) -> list[tuple[int, ...]]:
    """The host's cores, each with its threads, by package and core in the order of their first CPU; [] if unknown.

    >>> cores_of(Path("/nowhere"))
    []
    """
    cores: dict[tuple[str, str], list[int]] = {}
    try:
        for cpu in sorted(cpus.parse((folder / "online").read_text().strip())):
            topology = folder / f"cpu{cpu}" / "topology"
            package, core = ((topology / name).read_text().strip() for name in ("physical_package_id", "core_id"))
            cores.setdefault((package, core), []).append(cpu)
    except (OSError, ValueError):
        return []
    first = {package: min(c[0] for (p, _), c in cores.items() if p == package) for package, _ in cores}
    return [tuple(found) for (package, _), found in sorted(cores.items(), key=lambda one: (first[one[0][0]], one[1]))]


def offered(devices: Sequence[Mapping[str, Any]], share: Share) -> list[dict[str, Any]]:
    """The devices that pods are offered: the job's, and of the spec's those that are not other jobs'.

    >>> share = Share(devices=({"name": "gpu", "paths": ["/dev/null"], "count": 1},), others=("/dev/zero",))
    >>> spec = [{"name": "some", "paths": ["/dev/[nz]u[l]l", "/dev/zer*"], "count": 1}]
    >>> [(one["name"], one["paths"]) for one in offered(spec, share)]
    [('gpu', ['/dev/null']), ('some', ['/dev/[nz]u[l]l'])]
    """
    mine = {device["name"] for device in share.devices}
    found = [dict(device) for device in share.devices]
    for device in devices:
        paths = [path for pattern in device["paths"] for path in _own_paths(pattern, share)]
        if paths and device["name"] not in mine:
            found.append({**device, "paths": paths})
    return found


def _own_paths(pattern: str, share: Share) -> list[str]:
    if not share.others:
        return [pattern]
    kind, _, name = pattern.removeprefix("cdi:").partition("=")
    if pattern.startswith("cdi:"):
        if not kind.endswith("/gpu"):
            return [pattern]
        own = [path for device in share.devices if device["name"] == "gpu" for path in device["paths"]]
        numbers = [ends[0] for path in own if (ends := re.search(r"\d+$", path))]
        return [f"cdi:{kind}={number}" for number in numbers if name in ("all", number)]
    matches = glob.glob(pattern)  # noqa: PTH207  absolute patterns
    rest = [path for path in sorted(matches) if path not in share.others]
    return [pattern] if len(rest) == len(matches) else rest
