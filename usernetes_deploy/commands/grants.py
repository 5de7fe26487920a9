"""Verbs about rights: grant, grants, revoke."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.access import durations
from usernetes_deploy.access import grants as library
from usernetes_deploy.access.wishes import wish
from usernetes_deploy.cluster.spec import load
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, chosen, show
from usernetes_deploy.console.text import table


@task(
    klass=Verb,
    positional=["name"],
    help={
        "name": "name of the grant",
        "cluster": CLUSTER_HELP,
        "role": "view, edit, admin (Kubernetes' own), or a file with rules",
        "namespace": "where it holds: a namespace, which is made if there is none, or '*' for all",
        "for": "how long, as 30m, 8h or 2d; at most the spec's access.longestGrant",
        "verbs": "only these verbs of the role, as get,list,watch",
        "quota": "most that the namespace may use, as cpu=8,memory=16Gi,pods=50",
        "pod_security": "what pods of the namespace may be: restricted, baseline, privileged",
    },
)
def grant(
    _: Context,
    name: str,
    cluster: str | None = None,
    role: str = "view",
    namespace: str = "default",
    for_: str = "1h",
    verbs: str = "",
    quota: str = "",
    pod_security: str = "restricted",
) -> None:
    """Give somebody rights in a cluster, for a time; prints the path of a kubeconfig (0600) to hand over.

    Examples:

      usernetes grant reader
      usernetes grant agent --role edit --namespace runs --for 8h --quota cpu=8,pods=50
      usernetes grant watcher --namespace '*' --verbs get,list,watch
    """
    state = chosen(cluster)
    longest = load(state.read()["spec"], "the record").access.longest_grant
    asked = wish(
        name,
        role=role,
        namespace=namespace,
        length=for_,
        longest=longest,
        verbs=verbs,
        quota=quota,
        level=pod_security,
    )
    print(library.grant(state, asked).kubeconfig)


@task(klass=Verb, help={"cluster": CLUSTER_HELP, "json": "as JSON: name, role, namespace, ends, over, kubeconfig"})
def grants(_: Context, cluster: str | None = None, json: bool = False) -> None:
    """List the grants of a cluster.

    Examples:

      usernetes grants
      usernetes grants --json
    """
    found = library.listing(chosen(cluster))
    if json:
        show([one.document() for one in found])
        return
    now = datetime.now(UTC)
    rows = [
        [
            one.name,
            one.role,
            one.where,
            "over" if one.is_over(now) else durations.shown((one.ends - now).total_seconds()),
        ]
        for one in found
    ]
    print(table([["NAME", "ROLE", "NAMESPACE", "ENDS-IN"], *rows]) if rows else "no grants")


@task(klass=Verb, positional=["name"], help={"name": "name of the grant", "cluster": CLUSTER_HELP})
def revoke(_: Context, name: str, cluster: str | None = None) -> None:
    """End a grant now: its rights are gone when this returns. Its namespace stays, with what is in it.

    Examples:

      usernetes revoke agent
    """
    for line in library.revoke(chosen(cluster), name):
        print(line, file=sys.stderr)


TASKS = (grant, grants, revoke)
