"""Verbs that look at hosts and make clusters of them: up, check."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.access import durations
from usernetes_deploy.access.policies.driver import check_size
from usernetes_deploy.access.policies.site import in_force
from usernetes_deploy.changes import bringup, resuming
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster.launchers import kind, launcher_for
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import Verb, located, located_if_any, node_program, report, roots, show
from usernetes_deploy.commands.saving import KEY_HELP, key_of
from usernetes_deploy.console.flags import SPEC_HELP, SpecFlags, number, with_spec_flags
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import NodeFailures, SpecError, UsageError
from usernetes_deploy.jobs import records, submitting, systems
from usernetes_deploy.jobs.batch import BatchSystem
from usernetes_deploy.launch.base import Launcher
from usernetes_deploy.launch.inventory import targets_of
from usernetes_deploy.phases.check_nodes import judge


def spec_from(flags: SpecFlags, base: Mapping[str, Any] | None = None, **further: Any) -> spec.ClusterSpec:
    """The spec of a file (of `base`, or none) with flags laid over it; `further` are fields that other flags say."""
    document = spec.read(Path(flags.file)) if flags.file else dict(base or {})
    values = {**further, **flags.fields()}
    if values.get("hosts") is not None:
        hosts = values["hosts"]
        values["hosts"] = ([hosts] if hosts else []) if isinstance(hosts, str) else hosts
        values["launcher"] = values.get("launcher") or "ssh"
    document = spec.merge(document, values)
    sources = document.get("hosts")
    well_formed = isinstance(sources, list) and sources and all(isinstance(source, str) for source in sources)
    if document.get("launcher") == "ssh" and "nodes" not in document and well_formed:  # else `load` says what is wrong
        document["nodes"] = len(targets_of(tuple(sources or ()), flags.limit or ""))
    source = flags.file or "the command line"
    wanted = on_this_host(spec.load(document, source), source)
    # Read here, or by a job of ours that begins in another folder.
    return dataclasses.replace(wanted, manifests=tuple(str(Path(path).absolute()) for path in wanted.manifests))


def launcher_of(wanted: spec.ClusterSpec, flags: SpecFlags) -> Launcher:
    """The launcher that a spec asks for, with what only flags say of it."""
    return launcher_for(wanted, node_program(), limit=flags.limit or "", accept_new=flags.accept_new)


def on_this_host(wanted: spec.ClusterSpec, source: str) -> spec.ClusterSpec:
    """The paths of a local cluster are this host's: those of images may be relative, all must be there."""
    if not kind(wanted.launcher).shares_host:
        return wanted
    images, shared = tuple(str(Path(image).absolute()) for image in wanted.images), wanted.storage.shared
    problems = [(f"images[{n}]", f"{path} is not a file") for n, path in enumerate(images) if not Path(path).is_file()]
    if shared and not (Path(shared).is_dir() and os.access(shared, os.W_OK)):
        problems.append(("storage.shared", f"{shared} is no directory that you can write"))
    if problems:
        raise SpecError(problems, source)
    return dataclasses.replace(wanted, images=images)


@task(
    klass=Verb,
    iterable=["label", "taint", "set"],
    help={
        **SPEC_HELP,
        "wait": "wait until DNS answers and a packet went between pods of every pair of neighbours",
        "min-nodes": "go on when at least so many nodes are Ready",
        "durability": "disk or memory: where etcd keeps its data",
        "time": "time limit of the job that is submitted, as 2h (--launcher flux or slurm, outside a job)",
        "queue": "queue or partition of that job",
        "quiet": "no progress, only the result",
        "resume": "go on with a saved cluster: the folder of `usernetes save`, or its archive; flags change its spec",
        "key": KEY_HELP,
        "dry-run": "check the hosts and say what would be made; nothing is changed anywhere",
    },
)
@with_spec_flags
def up(
    _: Context,
    flags: SpecFlags,
    min_nodes: int | None = None,
    durability: str | None = None,
    wait: bool = True,
    time: str | None = None,
    quiet: bool = False,
    queue: str | None = None,
    dry_run: bool = False,
    resume: str | None = None,
    key: str | None = None,
) -> None:
    """Bring a cluster up and print the path of its kubeconfig.

    Examples:

      usernetes up --nodes 3
      usernetes up --cluster demo --nodes 2 --durability memory
      usernetes up --hosts node[01-04] --accept-new
      usernetes up --file cluster.yaml --set network.mtu=1400
      usernetes up --launcher slurm --nodes 4 --time 2h
      usernetes up --file cluster.yaml --label rack=r1 --dry-run
      usernetes up --resume ~/saved --nodes 2
    """
    further: dict[str, Any] = {"minNodes": number("min-nodes", min_nodes), "durability": durability}
    if resume:
        if flags.file or time or queue or dry_run:
            raise UsageError("--resume has the cluster's spec: --file, --time, --queue and --dry-run do not go with it")
        with resuming.opened(Path(resume), key_of(key), roots()) as (saved, archive):
            context = context_of(spec_from(flags, saved.manifest.spec, **further), flags, wait=wait, quiet=quiet)
            try:
                print(resuming.resume(context, saved, archive))
            finally:
                context.launcher.close()
        return
    if key:
        raise UsageError("--key is for --resume", remedy="usernetes up --resume DIR --key FILE")
    wanted = spec_from(flags, **further)
    system = systems.named(wanted.launcher)
    if system and system.own_job() is None:
        limit = durations.seconds(time, "--time") if time else None
        check_size(in_force(wanted.policies), wanted.nodes, limit)
        if dry_run:
            words = ["usernetes", "job", *submitting.arguments(wanted, named=bool(flags.cluster))]
            print(f"a {system.title} job on {wanted.nodes} hosts would be submitted: {shlex.join(words)}")
            return
        print(submitted(system, wanted, flags.cluster, time, queue, wait=wait, quiet=quiet))
        return
    if time or queue:
        raise UsageError("--time and --queue are for a job that is submitted: with --launcher flux, outside a job")
    context = context_of(wanted, flags, wait=wait, quiet=quiet)
    try:
        if dry_run:
            bringup.rehearse(context)
            print(rehearsal(context))
        else:
            print(bringup.up(context))
    finally:
        context.launcher.close()


def context_of(wanted: spec.ClusterSpec, flags: SpecFlags, *, wait: bool, quiet: bool) -> BringUp:
    """One `up` of a spec."""
    system = systems.named(wanted.launcher)
    return BringUp(
        spec=wanted,
        launcher=launcher_of(wanted, flags),
        state=ClusterState(roots(), wanted.name),
        found_bundle=located(wanted.bundle),
        report=report(quiet=quiet),
        wait=wait,
        time_left=system.time_left() if system and system.own_job() is not None else None,
    )


def rehearsal(context: BringUp) -> str:
    """What would be made of hosts that were checked, for people."""
    rows = [["NODE", "HOST", "ADDRESS", "FOLDER", "NETWORK", "CONTROL PLANE"]]
    for member in context.members:
        place = member.at
        first = f"API on port {place.api_port}" if member.index == 0 else ""
        rows.append(
            [
                member.name,
                member.host.where or member.name,
                f"{place.address} ({place.interface})",
                str(place.node_dir),
                f"{context.spec.network.backend}, UDP port {place.mesh_port}",
                first,
            ]
        )
    steps = "; ".join(phase.title for phase in bringup.UP[len(bringup.CHECK) :] if phase.check(context))
    return f"{table(rows)}\n\nwould follow: {steps}\nnothing was changed"


def submitted(
    system: BatchSystem,
    wanted: spec.ClusterSpec,
    name: str | None,
    time_limit: str | None,
    queue: str | None,
    *,
    wait: bool,
    quiet: bool,
) -> str:
    """Submit a job that is the cluster `wanted`, and wait for it; returns the path of its kubeconfig here.

    Without `wait`: the id of the job.
    """
    told = report(quiet=quiet)
    words = submitting.arguments(wanted, named=bool(name))
    job = submitting.submit(system, wanted.nodes, words, time_limit=time_limit, queue=queue)
    told.line(f"job {job.id} was submitted")
    if not wait:
        return job.id
    return str(records.adopt_job(roots(), submitting.follow(job, told.line)).kubeconfig)


@task(klass=Verb, iterable=["label", "taint", "set"], help={**SPEC_HELP, "json": "as JSON"})
@with_spec_flags
def check(_: Context, flags: SpecFlags, json: bool = False) -> None:
    """Ask every host all preflight questions and change nothing; exit code 3 when a host is not fit.

    Examples:

      usernetes check
      usernetes check --file cluster.yaml --json
    """
    wanted = spec_from(flags)
    context = BringUp(
        spec=wanted,
        launcher=launcher_of(wanted, flags),
        state=ClusterState(roots(), wanted.name),
        found_bundle=located_if_any(wanted.bundle),
        report=report(quiet=json),
    )
    failures: dict[str, BaseException] = {}
    try:
        run(bringup.CHECK, context, context.report)
    except NodeFailures as error:
        if not json:
            raise
        failures = error.failures
    warnings = warnings_of(context)
    if json:
        show(
            {
                "schema": 1,
                "fit": not failures,
                "hosts": {
                    host.name: {
                        "fit": host.name not in failures,
                        "problems": problems_of(failures.get(host.name)),
                        "warnings": [{"what": what, "remedy": remedy} for what, remedy in warnings.get(host.name, ())],
                    }
                    for host in context.hosts
                },
            }
        )
        if failures:
            raise NodeFailures(failures)
    else:
        print(f"{len(context.hosts)} {'host is' if len(context.hosts) == 1 else 'hosts are'} fit")
        remedies: dict[str, str] = {}  # one host's stands for all
        for what, remedy in (pair for pairs in warnings.values() for pair in pairs):
            remedies.setdefault(what, remedy)
        for what, remedy in remedies.items():
            print(f"could be better: {what}" + (f"\n  fix: {remedy}" if remedy else ""))


def warnings_of(context: BringUp) -> dict[str, list[tuple[str, str]]]:
    """What does not keep nodes from running on a host that was asked, each with its remedy."""
    asked = [host for host in context.hosts if host.name in context.facts]
    found = {host.name: judge(context, host, context.facts[host.name]) for host in asked}
    return {
        name: [(item.what, item.remedy) for item in items if item.severity == "warning"]
        for name, items in found.items()
    }


def problems_of(error: BaseException | None) -> list[dict[str, str]]:
    """What a host lacks, for JSON."""
    if error is None:
        return []
    pairs = getattr(error, "problems", [(str(error), "")])
    return [{"what": what, "remedy": remedy} for what, remedy in pairs]


TASKS = (up, check)
