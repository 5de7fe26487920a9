"""Verbs about whole clusters: down, list, spec, version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.changes import bringup
from usernetes_deploy.cluster import orphans, spec
from usernetes_deploy.cluster.launchers import ssh_launcher
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.cluster.state import ClusterState, clusters
from usernetes_deploy.commands.common import (
    CLUSTER_HELP,
    Verb,
    chosen,
    is_job,
    node_program,
    report,
    roots,
    show,
    versions,
)
from usernetes_deploy.console.flags import SPEC_HELP
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import JobEnded, UsageError, UsernetesError
from usernetes_deploy.jobs import records, submitting


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


@task(name="list", help={"json": "as JSON"})
def list_clusters(_: Context, json: bool = False) -> None:
    """List this user's clusters; exit code 1 when the record of one cannot be read.

    Examples:

      usernetes list
      usernetes list --json
    """
    found: list[Record] = []
    unread: list[str] = []
    for state in known_clusters():
        try:
            found.append(state.record())
        except UsageError:  # it was taken down at this moment
            continue
        except UsernetesError as error:
            unread.append(f"\n  {state.name}: {error.headline()}")
    if json:
        names = ("name", "phase", "created", "server")
        show([{**{key: getattr(one, key) for key in names}, "nodes": len(one.members.present())} for one in found])
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


def listing(found: Sequence[Record]) -> str:
    """The clusters of these records, for people."""
    if not found:
        return "no clusters"
    rows = [["NAME", "PHASE", "NODES", "LAUNCHER", "CREATED", "SERVER"]]
    rows += [
        [one.name, one.phase, str(len(one.members.present())), one.launcher["launcher"], one.created, one.server]
        for one in found
    ]
    return table(rows)


@task(name="spec", help={"schema": "the JSON Schema of spec files instead, for editors and other programs"})
def print_spec(_: Context, schema: bool = False) -> None:
    """Print the default spec with a comment on every field.

    Examples:

      usernetes spec > cluster.yaml
      usernetes spec --schema > cluster.schema.json
    """
    if schema:
        show(spec.json_schema())
    else:
        print(spec.describe(), end="")


@task(help={"json": "as JSON"})
def version(_: Context, json: bool = False) -> None:
    """Print the version of usernetes, and of the bundle it would use."""
    found = versions()
    if json:
        show(found)
        return
    print(f"usernetes {found['usernetes']} (Python {found['python']})")
    print(f"bundle {found['bundle'][:12]}" if found["bundle"] else "no bundle yet: usernetes bundle build")
    for name, text in found["components"].items():
        print(f"  {name} {text}")


TASKS = (down, list_clusters, print_spec, version)
