"""What of each host belongs to a job: CPUs, memory and generic resources (GRES), as ``scontrol`` tells it.

Slurm holds steps to it only where the site has `task/cgroup` or `task/affinity`; a node holds itself (`node.share`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usernetes_deploy import cpus
from usernetes_deploy.launch.hostlist import expand
from usernetes_deploy.node.share import Share

UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
# `dirname`: also of a site without a file of its own per host, where slurmd keeps what slurmctld gave it.
READ_GRES = 'cat "$(dirname "${SLURM_CONF:-/etc/slurm/slurm.conf}")/gres.conf"'
_HOSTS = re.compile(r"\bNodes=(\S+) CPU_IDs=(\S*) Mem=(\d+)(?: GRES=(\S*))?")
_GRES = re.compile(r"([\w.-]+)(?::[^(),]*)?\(IDX:([\d,-]+)\)")
_WORD = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class JobPart:
    """A job's part of a host: CPUs by Slurm's numbers, memory in bytes (0: not counted), indexes by GRES name."""

    cpus: str = ""
    memory: int = 0
    gres: Mapping[str, Sequence[int]] = field(default_factory=dict)


def parse_parts(printed: str) -> dict[str, JobPart]:
    """Each host's part, from ``scontrol --oneliner show job -d``.

    Where Slurm does not count memory (`Mem=0`) what was asked for (``--mem``, ``--mem-per-cpu``) is taken.

    >>> parse_parts("JobId=2   Nodes=n[1-2] CPU_IDs=0-1 Mem=600 GRES=gpu:a100:1(IDX:1),nic:1(IDX:0)")["n2"]
    JobPart(cpus='0-1', memory=629145600, gres={'gpu': [1], 'nic': [0]})
    >>> parse_parts("JobId=2   Nodes=n1 CPU_IDs=0-1 Mem=0 GRES= MinCPUsNode=1 MinMemoryCPU=1.50G")["n1"].memory >> 20
    3072
    """
    asked = re.search(r"MinMemory(Node|CPU)=([\d.]+)([KMGTP]?)", printed)
    found = {}
    for hosts, numbers, memory, gres in _HOSTS.findall(printed):
        size = int(memory) << 20
        if not size and asked:
            count = len(cpus.parse(numbers)) if numbers and asked[1] == "CPU" else 1
            size = int(float(asked[2]) * UNITS[asked[3]]) * count
        indexes = {name: sorted(cpus.parse(chosen)) for name, chosen in _GRES.findall(gres)}
        found.update(dict.fromkeys(expand(hosts), JobPart(numbers, size, indexes)))
    return found


def parse_gres_conf(text: str, host: str) -> dict[str, list[list[str]]]:
    """The device files of a host by GRES name, one list a device, in Slurm's order, from ``gres.conf``.

    >>> conf = "# cards\\nName=gpu Type=a File=/dev/nvidia[0-1]\\nNodeName=n[3-4] Name=nic File=/dev/nic0\\n"
    >>> parse_gres_conf(conf, "n3")
    {'gpu': [['/dev/nvidia0'], ['/dev/nvidia1']], 'nic': [['/dev/nic0']]}
    >>> parse_gres_conf(conf, "n5")
    {'gpu': [['/dev/nvidia0'], ['/dev/nvidia1']]}
    """
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        words = {name.lower(): value for name, value in _WORD.findall(line.partition("#")[0])}
        if "name" not in words or ("nodename" in words and host not in expand(words["nodename"])):
            continue
        several = words.get("multiplefiles", "")
        if several:
            found.setdefault(words["name"], []).append(expand(several))
        elif "file" in words:
            found.setdefault(words["name"], []).extend([path] for path in expand(words["file"]))
    return found


def share_of(part: JobPart, total: int, files: Mapping[str, Sequence[Sequence[str]]]) -> Share:
    """What a node on a host is told: of its `total` CPUs and of its `files` what is the job's.

    A GRES without device files (licences, bandwidth) is nothing that a pod could be given.

    >>> said = share_of(JobPart("1", 600 << 20, {"gpu": [1]}), 2, {"gpu": [["/dev/g0"], ["/dev/g1"]]})
    >>> said.cpus, said.of_cpus, said.memory, said.others
    ('1', 2, 629145600, ('/dev/g0',))
    >>> said.devices
    ({'name': 'gpu', 'paths': ['/dev/g1'], 'count': 1, 'each': True},)
    >>> share_of(JobPart("0-1"), 2, {})
    Share(cpus='', of_cpus=0, memory=0, devices=(), others=())
    """
    whole = not part.cpus or len(cpus.parse(part.cpus)) >= total
    devices: list[dict[str, Any]] = []
    taken: set[str] = set()
    for name, units in sorted(files.items()):
        mine = [unit for number, unit in enumerate(units) if number in part.gres.get(name, ())]
        if mine:
            # A device of several files is given as a whole: then one pod has them all.
            single = all(len(unit) == 1 for unit in mine)
            paths = [path for unit in mine for path in unit]
            word = name.lower().replace("_", "-")
            devices.append({"name": word, "paths": paths, "count": len(mine) if single else 1, "each": single})
            taken.update(paths)
    known = [path for units in files.values() for unit in units for path in unit]
    return Share(
        cpus="" if whole else part.cpus,
        of_cpus=0 if whole else total,
        memory=part.memory,
        devices=tuple(devices),
        others=tuple(path for path in known if path not in taken),
    )
