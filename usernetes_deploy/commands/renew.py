"""The verb renew: new certificates for a running cluster."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.access import grants
from usernetes_deploy.changes import renewal
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, node_program, report, running
from usernetes_deploy.jobs import records


@task(
    klass=Verb,
    help={
        "cluster": CLUSTER_HELP,
        "revoke-all": "after a leak: new authorities, so that all that was issued before is refused, grants too",
        "quiet": "no progress, only the names of the nodes",
    },
)
def renew(_: Context, cluster: str | None = None, revoke_all: bool = False, quiet: bool = False) -> None:
    """Issue all certificates of a running cluster anew, for a year; pods run on, the kubeconfig is a new one.

    `usernetes status` says when they end, and warns 30 days before, of a node that did not answer here as well.

    Examples:

      usernetes renew
      usernetes renew --cluster demo
      usernetes renew --revoke-all
    """
    state = running(cluster)
    try:
        names = renewal.renew(state, report(quiet=quiet), node_program(), revoke_all=revoke_all)
        if revoke_all:
            for grant in grants.listing(state):
                grants.revoke(state, grant.name)
    finally:
        records.publish_change(state)  # the kubeconfig is new also where a node did not answer
    print("\n".join(names))


TASKS = (renew,)
