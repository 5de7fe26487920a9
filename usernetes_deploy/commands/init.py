"""``usernetes init``: write a job script and a spec that fit this site."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.commands.common import report
from usernetes_deploy.console.flags import SPEC_HELP
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.jobs import systems
from usernetes_deploy.jobs.batch import BatchSystem
from usernetes_deploy.launch.site import Site, Wanted

SPEC = "cluster.yaml"


@task(
    help={
        "folder": "where to write them (default: here)",
        "nodes": SPEC_HELP["nodes"],
        "time": "time limit of the job, as 2h",
        "queue": "queue or partition of the job (default: the site's default)",
        "account": "account that the job is charged to (default: yours)",
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
    account: str | None = None,
    interface: str | None = None,
    shared: str | None = None,
    force: bool = False,
) -> None:
    """Write a spec, and where there is Flux or Slurm a job script, with what was found here filled in.

    Examples:

      usernetes init
      usernetes init --folder my-cluster --nodes 8 --time 4h --queue batch --shared /p/scratch/me
    """
    told = report()
    found = look_around()
    wanted = Wanted(nodes, time, queue, account)
    problems = refused(found, wanted, shared)
    if problems:
        raise UsageError("; ".join(problems))
    text = spec_text(None if found else nodes, interface, shared)
    files = found[0].job_files(found[1], wanted, text) if found else {SPEC: text}
    target = Path(folder)
    there = [name for name in files if (target / name).exists()]
    if there and not force:
        raise UsageError(f"{', '.join(there)} exist in {target.absolute()}", remedy="--force, or another folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).write_text(content, encoding="utf-8")
            (target / name).chmod(0o755 if content.startswith("#!") else 0o644)
            print(target / name)
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"write to {target}") from None
    if found:
        script = next(name for name, content in files.items() if content.startswith("#!"))
        told.line(f"next: cd {shlex.quote(str(target))} && {found[1].submit} {script}")
    else:
        told.line(f"no batch system answers here, so there is no job script; next: usernetes up --file {target / SPEC}")


def refused(found: tuple[BatchSystem, Site] | None, wanted: Wanted, shared: str | None) -> list[str]:
    """What of the wishes cannot be here, all of it."""
    problems = []
    if wanted.nodes < 1:
        problems.append(f"--nodes: expected a whole number >= 1, got {wanted.nodes}")
    if found:
        system, site = found
        problems += system.refuse(site, wanted)
    else:
        named = {"--queue": wanted.queue, "--account": wanted.account}
        problems += [f"{flag}: no batch system answers here" for flag, value in named.items() if value]
    if shared and not (Path(shared).is_dir() and os.access(shared, os.W_OK)):
        problems.append(f"--shared: {shared} is no directory that you can write")
    return problems


def look_around() -> tuple[BatchSystem, Site] | None:
    """The first batch system that answers here, and what it said; None where there is none."""
    for system in systems.here():
        try:
            return system, system.site()
        except UsernetesError:  # its commands are here, and nobody answers
            continue
    return None


def spec_text(nodes: int | None, interface: str | None, shared: str | None) -> str:
    """The spec with the few fields that differ from site to site; `usernetes spec` prints all of them.

    Without `nodes` they are the hosts of a job.
    """
    lines = ["apiVersion: usernetes.dev/v1alpha1", "kind: Cluster"]
    if nodes is None:
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
