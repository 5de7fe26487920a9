"""Verbs about whole clusters: up, down, check, list, spec, version."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy import __version__
from usernetes_deploy import bundle as bundles
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster import orphans, spec
from usernetes_deploy.cluster.launchers import kind, launcher_for, ssh_launcher
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.state import ClusterState, clusters
from usernetes_deploy.commands.common import (
    CLUSTER_HELP,
    Verb,
    bundle_cache,
    chosen,
    is_job,
    located,
    located_if_any,
    node_program,
    report,
    roots,
    show,
)
from usernetes_deploy.console.flags import SPEC_HELP, SpecFlags, number, with_spec_flags
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import BundleError, JobEnded, NodeFailures, SpecError, UsageError, UsernetesError
from usernetes_deploy.jobs import records, submitting, systems
from usernetes_deploy.jobs.batch import BatchSystem
from usernetes_deploy.launch.base import Launcher
from usernetes_deploy.launch.inventory import targets_of
from usernetes_deploy.phases.check_nodes import judge


def spec_from(flags: SpecFlags, **further: Any) -> spec.ClusterSpec:
    """The spec of a file (or none) with flags laid over it; `further` are fields that other flags say."""
    document = spec.read(Path(flags.file)) if flags.file else {}
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
    return on_this_host(spec.load(document, source), source)


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
    iterable=["set"],
    help={
        **SPEC_HELP,
        "wait": "wait until DNS answers and a packet went between pods of every pair of neighbours",
        "min-nodes": "go on when at least so many nodes are Ready",
        "durability": "disk or memory: where etcd keeps its data",
        "time": "time limit of the Flux job that is submitted, as 2h (--launcher flux, outside a job)",
        "queue": "queue of that job",
        "quiet": "no progress, only the result",
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
    queue: str | None = None,
    quiet: bool = False,
) -> None:
    """Bring a cluster up and print the path of its kubeconfig.

    Examples:

      usernetes up --nodes 3
      usernetes up --cluster demo --nodes 2 --durability memory
      usernetes up --hosts node[01-04] --accept-new
      usernetes up --file cluster.yaml --set network.mtu=1400
      usernetes up --launcher flux --nodes 4 --time 2h
    """
    wanted = spec_from(flags, minNodes=number("min-nodes", min_nodes), durability=durability)
    system = systems.named(wanted.launcher)
    if system and system.own_job() is None:
        print(submitted(system, wanted, flags.cluster, time, queue, wait=wait, quiet=quiet))
        return
    if time or queue:
        raise UsageError("--time and --queue are for a job that is submitted: with --launcher flux, outside a job")
    context = BringUp(
        spec=wanted,
        launcher=launcher_of(wanted, flags),
        state=ClusterState(roots(), wanted.name),
        found_bundle=located(wanted.bundle),
        report=report(quiet=quiet),
        wait=wait,
    )
    try:
        print(bringup.up(context))
    finally:
        context.launcher.close()


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


@task(
    klass=Verb,
    help={
        "cluster": CLUSTER_HELP,
        "hosts": "where it was brought up by SSH, when it was done from another machine than this one",
        "node-directory": "the spec's storage.nodeDirectory, with --hosts",
        "accept-new": SPEC_HELP["accept_new"],
        "keep-logs": "a folder to fetch the nodes' logs into first",
        "force": "remove a record that cannot be read, and end the nodes of that name on this host",
        "quiet": "no progress",
    },
)
def down(
    _: Context,
    cluster: str | None = None,
    hosts: str | None = None,
    node_directory: str | None = None,
    accept_new: bool = False,
    keep_logs: str | None = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Take a cluster down; fine when it is half made, or down already.

    Examples:

      usernetes down
      usernetes down --cluster demo --keep-logs ./logs
      usernetes down --hosts node[01-16] --cluster demo
      usernetes down --cluster demo --force
    """
    told = report(quiet=quiet)
    if hosts is not None:
        launcher = ssh_launcher(hosts, node_program(), accept_new=accept_new)
        try:
            orphans.down(launcher, cluster, told, node_directory)
        finally:
            launcher.close()
        return
    if not cluster and not clusters(roots()):
        told.line("there is no cluster; nothing to do")
        return
    if cluster and not is_job(cluster) and not ClusterState(roots(), cluster).exists():
        ClusterState(roots(), cluster).remove()
        told.line(f"no cluster named {cluster}; nothing to do (--hosts LIST for one of another machine's)")
        return
    try:
        state = chosen(cluster, half_made=True)
    except JobEnded as error:
        told.line(error.reason)
        return
    if force and not state.is_readable():
        orphans.end_unreadable(state, node_program(), told)
        return
    if submitting.end_job(state, told.line):
        return
    launcher_state = state.launcher()
    bringup.down(state, told, node_program(), Path(keep_logs) if keep_logs else None)
    submitting.withdraw(launcher_state)


@task(klass=Verb, iterable=["set"], help={**SPEC_HELP, "json": "as JSON"})
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


@task(name="list", help={"json": "as JSON"})
def list_clusters(_: Context, json: bool = False) -> None:
    """List this user's clusters; exit code 1 when the record of one cannot be read.

    Examples:

      usernetes list
      usernetes list --json
    """
    found: list[dict[str, Any]] = []
    unread: list[str] = []
    for state in known_clusters():
        try:
            found.append(state.whole())
        except UsageError:  # it was taken down at this moment
            continue
        except UsernetesError as error:
            unread.append(f"\n  {state.name}: {error.headline()}")
    if json:
        names = ("name", "phase", "created", "server")
        show([{**{key: item[key] for key in names}, "nodes": len(members_of(item).present())} for item in found])
    elif found or not unread:
        print(listing(found))
    if unread:
        how_many = f"{len(unread)} of {len(found) + len(unread)} clusters"
        raise UsernetesError(f"the record of {how_many} cannot be read:{''.join(unread)}")


def known_clusters() -> Sequence[ClusterState]:
    """All clusters of the user, those in jobs included; a batch system that does not answer is a warning."""
    try:
        return records.with_jobs(roots())
    except UsernetesError as error:
        report().line(f"warning: clusters in jobs may be missing: {error}")
        return clusters(roots())


def listing(found: Sequence[Mapping[str, Any]]) -> str:
    """The clusters of these records, for people."""
    if not found:
        return "no clusters"
    rows = [["NAME", "PHASE", "NODES", "LAUNCHER", "CREATED", "SERVER"]]
    rows += [
        [
            item["name"],
            item["phase"],
            str(len(members_of(item).present())),
            item["launcher"]["launcher"],
            item["created"],
            item["server"],
        ]
        for item in found
    ]
    return table(rows)


@task(name="spec")
def print_spec(_: Context) -> None:
    """Print the default spec with a comment on every field.

    Examples:

      usernetes spec > cluster.yaml
    """
    print(spec.describe(), end="")


@task(help={"json": "as JSON"})
def version(_: Context, json: bool = False) -> None:
    """Print the version of usernetes, and of the bundle it would use."""
    try:
        found = bundles.locate(None, bundle_cache())
        digest: str | None = found.digest
        components = dict(found.versions)
    except BundleError:
        digest, components = None, {}
    if json:
        show(
            {"usernetes": __version__, "python": platform.python_version(), "bundle": digest, "components": components}
        )
        return
    print(f"usernetes {__version__} (Python {platform.python_version()})")
    print(f"bundle {digest[:12]}" if digest else "no bundle yet: usernetes bundle build")
    for name, text in components.items():
        print(f"  {name} {text}")


TASKS = (up, down, check, list_clusters, print_spec, version)
