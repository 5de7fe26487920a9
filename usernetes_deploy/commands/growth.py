"""Verbs that make a running cluster larger or smaller: add, remove."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.changes import growth
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, node_program, report, running
from usernetes_deploy.console.flags import number
from usernetes_deploy.errors import UsageError
from usernetes_deploy.jobs import records, submitting
from usernetes_deploy.launch.base import Wish


@task(
    klass=Verb,
    help={
        "cluster": CLUSTER_HELP,
        "nodes": "how many further nodes (local launcher; Flux: free hosts of the job, else of a further one)",
        "hosts": "which further hosts (ssh launcher): a list as node[05-08], or a file",
        "accept-new": "trust host keys never seen before (ssh launcher)",
        "quiet": "no progress, only the names of the new nodes",
    },
)
def add(
    _: Context,
    cluster: str | None = None,
    nodes: int | None = None,
    hosts: str | None = None,
    accept_new: bool = False,
    quiet: bool = False,
) -> None:
    """Add nodes to a running cluster and print their names.

    Examples:

      usernetes add --nodes 2
      usernetes add --hosts node[05-08]
    """
    wanted = number("nodes", nodes)
    if wanted is not None and wanted < 1:
        raise UsageError(f"--nodes: expected a whole number >= 1, got {wanted}")
    state = running(cluster)
    told = report(quiet=quiet)
    document = state.read()  # asked here too, before a job is submitted for further nodes
    growth.check_further(members_of(document), document["spec"].get("policies", ()), wanted or 1)
    submitting.make_room(state, wanted or 1, node_program(), told.line)
    document = state.read()
    wish = Wish(wanted, (hosts,) if hosts else (), accept_new=accept_new)
    taken = [member.name for member in members_of(document).present()]
    launcher = launcher_from_state(document["launcher"], node_program())
    try:
        names = growth.add(state, told, launcher, lambda found: found.grow(wish, taken))
    finally:
        launcher.close()
    records.publish_change(state)
    print("\n".join(names))


@task(
    positional=["node"],
    help={
        "node": "the node's name; several as a,b",
        "cluster": CLUSTER_HELP,
        "drain-seconds": "how long its pods may take to leave",
        "force": "wait for nothing: the node, or its host, is lost (do be sure: its pods are started elsewhere)",
    },
)
def remove(
    _: Context,
    node: str,
    cluster: str | None = None,
    drain_seconds: int = growth.DRAIN_SECONDS,
    force: bool = False,
) -> None:
    """Cordon and drain a node, and have it leave the cluster; with --force one that is lost.

    Examples:

      usernetes remove node3
      usernetes remove node3 --force
    """
    names = [name for name in node.split(",") if name]
    if not names:
        raise UsageError(f"expected names of nodes, as node2,node3, got {node!r}", remedy="usernetes status")
    if int(drain_seconds) < 0:
        raise UsageError(f"--drain-seconds: expected a whole number >= 0, got {drain_seconds}")
    state = running(cluster)
    growth.remove(state, report(), node_program(), names, drain_seconds=int(drain_seconds), force=force)
    records.publish_change(state)
    submitting.give_back(state)


TASKS = (add, remove)
