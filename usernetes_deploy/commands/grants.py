"""Verbs about rights: grant, grants, revoke, and what was done with them: audit."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.access import durations, trail
from usernetes_deploy.access import grants as library
from usernetes_deploy.access.wishes import wish
from usernetes_deploy.cluster.spec import load
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, chosen, node_program, show
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import UsageError, UsernetesError


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


@task(
    klass=Verb,
    help={"cluster": CLUSTER_HELP, "json": "as JSON: name, role, namespace, ends, over, lastUse, kubeconfig"},
)
def grants(_: Context, cluster: str | None = None, json: bool = False) -> None:
    """List the grants of a cluster.

    Examples:

      usernetes grants
      usernetes grants --json
    """
    state = chosen(cluster)
    try:
        used = trail.last_use(state, node_program())
    except UsernetesError as error:  # the grants are the API's to tell all the same
        print(f"when they were used last is not known: {error}", file=sys.stderr)
        used = {}
    found = library.listing(state, used)
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
            f"{durations.shown((now - one.last_use).total_seconds())} ago" if one.last_use else "-",
        ]
        for one in found
    ]
    print(table([["NAME", "ROLE", "NAMESPACE", "ENDS-IN", "LAST-USE"], *rows]) if rows else "no grants")


@task(klass=Verb, positional=["name"], help={"name": "name of the grant", "cluster": CLUSTER_HELP})
def revoke(_: Context, name: str, cluster: str | None = None) -> None:
    """End a grant now: its rights are gone when this returns. Its namespace stays, with what is in it.

    Examples:

      usernetes revoke agent
    """
    for line in library.revoke(chosen(cluster), name):
        print(line, file=sys.stderr)


@task(
    klass=Verb,
    iterable=["verb"],
    help={
        "cluster": CLUSTER_HELP,
        "grant": "only what was done with this grant, also of one that is revoked",
        "since": "only the last 30m, 8h or 2d",
        "verb": "only this verb, as delete; may be given again",
        "lines": "at most so many, the last ones",
        "json": "as JSON: time, user, as, verb, resource, namespace, name, code, source, agent",
    },
)
def audit(
    _: Context,
    cluster: str | None = None,
    grant: str = "",
    since: str = "",
    verb: list[str] | None = None,
    lines: int = 1000,
    json: bool = False,
) -> None:
    """Say who did what through a cluster's API; what its own parts do at rest is left out.

    Examples:

      usernetes audit --grant agent --since 1h
      usernetes audit --verb delete --verb deletecollection --json
    """
    if lines < 1:
        raise UsageError(f"--lines: expected a number > 0, got {lines}")
    length = timedelta(seconds=durations.seconds(since, "--since")) if since else None
    state = chosen(cluster)
    found = trail.trail(state, node_program(), grant=grant, since=length, verbs=verb or (), lines=lines)
    if json:
        show(found)
    elif found:
        print(trail.shown(found))
    else:
        print("nothing that was asked for", file=sys.stderr)


TASKS = (grant, grants, revoke, audit)
