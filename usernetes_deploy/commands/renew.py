"""The verb renew: new certificates for a running cluster."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.changes import renewal
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, node_program, report, running
from usernetes_deploy.jobs import records


@task(klass=Verb, help={"cluster": CLUSTER_HELP, "quiet": "no progress, only the names of the nodes"})
def renew(_: Context, cluster: str | None = None, quiet: bool = False) -> None:
    """Issue all certificates of a running cluster anew, for a year; pods run on, the kubeconfig is a new one.

    `usernetes status` says when they end, and warns 30 days before, of a node that did not answer here as well.

    Examples:

      usernetes renew
      usernetes renew --cluster demo
    """
    state = running(cluster)
    try:
        names = renewal.renew(state, report(quiet=quiet), node_program())
    finally:
        records.publish_change(state)  # the kubeconfig is new also where a node did not answer
    print("\n".join(names))


TASKS = (renew,)
