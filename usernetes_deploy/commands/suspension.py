"""Verbs that end a cluster's nodes and bring them back: stop, start."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.changes import suspension
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, chosen, node_program, report


@task(klass=Verb, help={"cluster": CLUSTER_HELP, "quiet": "no progress, only the names of the nodes"})
def stop(_: Context, cluster: str | None = None, quiet: bool = False) -> None:
    """End a cluster's nodes and keep all it has on disk; `usernetes start` brings the same cluster back.

    Pods end as when a machine is switched off; their volumes stay. Not for clusters in jobs.

    Examples:

      usernetes stop
      usernetes stop --cluster demo
    """
    print("\n".join(suspension.stop(chosen(cluster), report(quiet=quiet), node_program())))


@task(
    klass=Verb,
    help={
        "cluster": CLUSTER_HELP,
        "wait": "wait until DNS answers and a packet went between pods of every pair of neighbours",
        "quiet": "no progress, only the result",
    },
)
def start(_: Context, cluster: str | None = None, wait: bool = True, quiet: bool = False) -> None:
    """Bring back a cluster that was stopped, or whose host was rebooted, and print the path of its kubeconfig.

    Examples:

      usernetes start
      usernetes start --cluster demo
    """
    print(suspension.start(chosen(cluster), report(quiet=quiet), node_program(), wait=wait))


TASKS = (stop, start)
