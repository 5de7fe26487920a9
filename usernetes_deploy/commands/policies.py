"""Verbs about policies: policy list, check, test, apply."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from usernetes_deploy.access.policies import applied, trial
from usernetes_deploy.access.policies.document import Policy
from usernetes_deploy.access.policies.driver import check_size
from usernetes_deploy.access.policies.library import LIBRARY
from usernetes_deploy.access.policies.site import KIND, document_of, in_force, of_cluster, read
from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, chosen, show
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import UsageError


@task(name="list", klass=Verb, help={"cluster": CLUSTER_HELP, "json": "as JSON"})
def list_(_: Context, cluster: str | None = None, json: bool = False) -> None:
    """List the ten ready policies, and which are in force: the site's, and with --cluster those of its spec.

    Examples:

      usernetes policy list
      usernetes policy list --cluster demo
    """
    state = chosen(cluster) if cluster else None
    policies = of_cluster(state) if state else in_force(())
    lacking = lacking_in(state, policies) if state else []
    where = {name: [policy.source for policy in policies if policy.name == name] for name in LIBRARY}
    if json:
        show(
            {
                "schema": 1,
                "lacking": lacking,
                "policies": [
                    {
                        "name": kind.name,
                        "summary": kind.summary,
                        "enforcedBy": kind.by.split(", "),
                        "parameters": {key: parameter.doc for key, parameter in kind.parameters.items()},
                        "inForce": [described(policy) for policy in policies if policy.name == kind.name],
                    }
                    for kind in LIBRARY.values()
                ],
            }
        )
        return
    for name in lacking:
        print(f"not in the API: {name}\n  fix: usernetes policy apply --cluster {cluster}", file=sys.stderr)
    rows = [
        [kind.name, kind.by, ", ".join(kind.parameters) or "-", ", ".join(where[kind.name]) or "-", kind.summary]
        for kind in LIBRARY.values()
    ]
    print(table([["NAME", "ENFORCED-BY", "PARAMETERS", "IN-FORCE", "SAYS"], *rows]))


@task(klass=Verb, positional=["file"], help={"file": "a spec, or a file of policies", "json": "as JSON"})
def check(_: Context, file: str, json: bool = False) -> None:
    """Check a file of policies, or a spec: is it valid, and does it pass what the policies say of its size.

    Examples:

      usernetes policy check /etc/usernetes/policy.yaml
      usernetes policy check cluster.yaml
    """
    policies = policies_of(file)
    if json:
        show({"schema": 1, "policies": [described(policy) for policy in policies]})
    else:
        print_policies(policies)


@task(
    klass=Verb,
    positional=[],
    help={
        "file": "a spec or a file of policies (default: what is in force for the cluster)",
        "cluster": CLUSTER_HELP,
        "objects": "file with objects that have to be taken, and to be refused",
        "running": "say which of the cluster's objects would be refused",
        "json": "as JSON",
    },
)
def test(
    _: Context,
    file: str | None = None,
    cluster: str | None = None,
    objects: str | None = None,
    running: bool = False,
    json: bool = False,
) -> None:
    """Try policies on a running cluster, by dry run: nothing changes; exit code 1 when an object went wrong.

    Examples:

      usernetes policy test --objects tests.yaml
      usernetes policy test --file new-policy.yaml --running
    """
    if not objects and not running:
        raise UsageError("there is nothing to try", remedy="usernetes policy test --running, or --objects FILE")
    tests = trial.read_tests(content(objects), objects) if objects else None
    state = chosen(cluster)
    policies = policies_of(file) if file else of_cluster(state)
    api = state.api(timeout=30)
    try:
        outcomes = trial.run_tests(api, policies, tests) if tests else []
        outcomes += trial.refused_of_running(api, policies) if running else []
    finally:
        api.close()
    wrong = [one for one in outcomes if not one.is_right]
    if json:
        keys = ("object", "wanted", "refusal", "right")
        rows = [dict(zip(keys, (one.name, one.wanted, one.message, one.is_right), strict=True)) for one in outcomes]
        show({"schema": 1, "policies": [described(policy) for policy in policies], "outcomes": rows})
    elif outcomes:
        words = [[one.name, one.wanted, "ok" if one.is_right else "WRONG", one.message or "taken"] for one in outcomes]
        print(table([["OBJECT", "WANTED", "OUTCOME", "SAID"], *words]))
    else:
        print(f"no object of the cluster would be refused by the {len(policies)} policies")
    if wrong:
        raise Exit(code=1)


@task(klass=Verb, help={"cluster": CLUSTER_HELP})
def apply(_: Context, cluster: str | None = None) -> None:
    """Give a running cluster's API the policies that are in force now: after a change of the site's file.

    Examples:

      usernetes policy apply --cluster demo
    """
    state = chosen(cluster)
    policies = of_cluster(state)
    with state.locked():
        api = state.api(timeout=30)
        try:
            count, gone = applied.apply(api, policies)
        finally:
            api.close()
    print(f"{count} {'policy is' if count == 1 else 'policies are'} in the API")
    for name in gone:
        print(f"taken away: {name}")


def policies_of(file: str) -> list[Policy]:
    """The policies of a file (kind Policies), or those that a spec has and is under; the spec passes their sizes."""
    text = content(file)
    if document_of(text, file).get("kind") == KIND:
        return read(text, file, "file")
    wanted = spec.load(spec.read(Path(file)), file)
    policies = in_force(wanted.policies)
    check_size(policies, wanted.nodes)
    return policies


def lacking_in(state: ClusterState, policies: Sequence[Policy]) -> list[str]:
    """The names of policies that the API of a cluster does not have."""
    api = state.api()
    try:
        return applied.missing(api, policies)
    finally:
        api.close()


def content(file: str) -> str:
    """The text of a file. Raises `UsageError`."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(error.strerror or str(error), tried=f"read {file}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"not text: {error}", tried=f"read {file}") from error


def described(policy: Policy) -> dict[str, Any]:
    """One policy for JSON."""
    return {
        "name": policy.name,
        "source": policy.source,
        "parameters": dict(policy.parameters),
        "except": {key: list(names) for key, names in policy.exempt.items()},
    }


def print_policies(policies: Iterable[Policy]) -> None:
    """Policies for people."""

    def words(policy: Policy) -> str:
        given = {**policy.parameters, **{f"except {key}": names for key, names in policy.exempt.items()}}
        texts = [f"{key}: {', '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in given.items()]
        return "; ".join(texts) or "-"

    rows = [[policy.name, policy.source, LIBRARY[policy.name].by, words(policy)] for policy in policies]
    print(table([["NAME", "SOURCE", "ENFORCED-BY", "PARAMETERS"], *rows]) if rows else "no policies")


TASKS = (list_, check, test, apply)
