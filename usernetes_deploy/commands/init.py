"""``usernetes init``: write a job script and a spec that fit this site."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.commands.common import report
from usernetes_deploy.console.flags import SPEC_HELP
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.flux.instance import Instance

JOB_SCRIPT = "usernetes.sh"
SPEC = "cluster.yaml"


@dataclass(frozen=True)
class Site:
    """What is known of the place: whether Flux answers, its queues (the default one first), its hosts and cores."""

    flux: bool
    queues: Sequence[str] = ()
    hosts: int = 0
    cores: int = 0


@task(
    help={
        "folder": "where to write them (default: here)",
        "nodes": SPEC_HELP["nodes"],
        "time": "time limit of the job, as 2h",
        "queue": "queue of the job (default: the site's default)",
        "interface": SPEC_HELP["interface"],
        "shared": "a directory that all nodes see, offered to pods as StorageClass `shared`",
        "force": "replace files that are there",
    },
)
def init(
    _: Context,
    folder: str = ".",
    nodes: int = 2,
    time: str = "1h",
    queue: str | None = None,
    interface: str | None = None,
    shared: str | None = None,
    force: bool = False,
) -> None:
    """Write a spec, and where there is Flux a job script, with what was found here filled in.

    Examples:

      usernetes init
      usernetes init --folder my-cluster --nodes 8 --time 4h --queue batch --shared /p/scratch/me
    """
    told = report()
    site = look_around()
    problems = refuse(site, nodes, queue, shared)
    if problems:
        raise UsageError("; ".join(problems))
    target = Path(folder)
    files = {SPEC: spec_text(site, nodes, interface, shared)}
    if site.flux:
        files[JOB_SCRIPT] = job_script(nodes, time, queue, site.queues)
    there = [name for name in files if (target / name).exists()]
    if there and not force:
        raise UsageError(f"{', '.join(there)} exist in {target.absolute()}", remedy="--force, or another folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text, encoding="utf-8")
            print(target / name)
        if site.flux:
            (target / JOB_SCRIPT).chmod(0o755)
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"write to {target}") from None
    if site.flux:
        told.line(f"next: cd {shlex.quote(str(target))} && flux batch {JOB_SCRIPT}")
    else:
        told.line(f"no Flux answers here, so there is no job script; next: usernetes up --file {target / SPEC}")


def look_around() -> Site:
    """Ask Flux, where there is any."""
    if shutil.which("flux") is None:
        return Site(flux=False)
    instance = Instance()
    try:
        members = instance.members()
        settings = instance.settings()
    except UsernetesError:
        return Site(flux=False)
    return Site(True, queues_of(settings), len(members), max((member.cores for member in members), default=0))


def queues_of(settings: dict[str, Any]) -> Sequence[str]:
    """The queues of an instance's configuration, the default one first.

    >>> policy = {"jobspec": {"defaults": {"system": {"queue": "debug"}}}}
    >>> queues_of({"queues": {"batch": {}, "debug": {}}, "policy": policy})
    ('debug', 'batch')
    """
    default = settings.get("policy", {}).get("jobspec", {}).get("defaults", {}).get("system", {}).get("queue", "")
    return tuple(sorted(settings.get("queues", {}), key=lambda name: (name != default, name)))


def refuse(site: Site, nodes: int, queue: str | None, shared: str | None) -> list[str]:
    """What of the wishes cannot be here."""
    problems = []
    if nodes < 1:
        problems.append(f"--nodes: expected a whole number >= 1, got {nodes}")
    elif site.flux and nodes > site.hosts:
        problems.append(f"--nodes: {nodes} were asked for, this Flux instance has {site.hosts} hosts")
    if queue and queue not in site.queues:
        problems.append(f"--queue: there is no queue {queue}; there are {', '.join(site.queues) or 'none'}")
    if shared and not (Path(shared).is_dir() and os.access(shared, os.W_OK)):
        problems.append(f"--shared: {shared} is no directory that you can write")
    return problems


def job_script(nodes: int, time: str, queue: str | None, queues: Sequence[str]) -> str:
    """The job script; what can be chosen is explained beside it."""
    if queue:
        line = f"#flux: --queue={queue}"
    elif queues:
        line = f"#flux: # --queue={queues[0]}       # the queues here: {', '.join(queues)}; the first is the default"
    else:
        line = "#flux: # --queue=NAME          # there are no queues here"
    return f"""#!/bin/sh
#flux: --nodes={nodes}               # hosts; the first carries the control plane
#flux: --time-limit={time}
{line}
#flux: --job-name=usernetes
#flux: --output=usernetes-{{{{id}}}}.out
#flux: --add-file={SPEC}       # travels with the job, into the folder that this script is run from
#
# A Kubernetes cluster of this job's hosts, for as long as the job lasts:
#   flux batch {JOB_SCRIPT}
# or for as long as a workflow runs, whose exit code becomes the job's:
#   flux batch {JOB_SCRIPT} -- ./workflow.sh its arguments
# From the login node:
#   usernetes kubectl --cluster JOBID get nodes
exec usernetes job --file "$(dirname "$0")/{SPEC}" "$@"
"""


def spec_text(site: Site, nodes: int, interface: str | None, shared: str | None) -> str:
    """The spec with the few fields that differ from site to site; `usernetes spec` prints all of them."""
    lines = ["apiVersion: usernetes.dev/v1alpha1", "kind: Cluster"]
    if site.flux:
        lines += ["# The number of nodes is that of the job's hosts."]
    else:
        lines += [f"nodes: {nodes}"]
    lines += ["network:", "  # The host interface between the nodes, by name (hsn0) or by a CIDR it has an address in."]
    lines += [
        f"  interface: {json.dumps(interface)}"
        if interface
        else "  # interface: hsn0     (default: the default route's)"
    ]
    lines += ["storage:", "  # A directory that all nodes see: pods get it as StorageClass `shared` (ReadWriteMany)."]
    lines += [f"  shared: {json.dumps(shared, ensure_ascii=False)}" if shared else "  # shared: /p/scratch/me"]
    lines += [
        "  # Node-local folder for images, volumes and logs; default: the first fit of /var/tmp and /tmp.",
        "  # nodeDirectory: /l/ssd",
        "# disk: etcd's data survives a restart of the node; memory: faster, for throw-away clusters.",
        "durability: memory",
    ]
    return "\n".join(lines) + "\n"


TASKS = (init,)
