"""Verbs about a running cluster: status, kubeconfig, kubectl, logs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from usernetes_deploy.cluster import merging, support
from usernetes_deploy.cluster import status as statuses
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.proxies import beside
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.commands.common import (
    CLUSTER_HELP,
    chosen,
    environment,
    node_program,
    report,
    running,
    show,
    versions,
)
from usernetes_deploy.errors import UsageError, UsernetesError

CLEAR = "\x1b[H\x1b[2J"


@task(
    help={
        "cluster": CLUSTER_HELP,
        "json": "as JSON (its schema: usernetes_deploy/cluster/schema/status.json)",
        "watch": "look again every so many seconds, until interrupted",
    }
)
def status(_: Context, cluster: str | None = None, json: bool = False, watch: int = 0) -> None:
    """Say how a cluster is: nodes, components, network, DNS, API, images; exit code 1 when something is not well.

    Examples:

      usernetes status
      usernetes status --json
      usernetes status --watch 5
    """
    if watch < 0:
        raise UsageError(f"--watch: expected seconds > 0, got {watch}")
    while True:
        found = statuses.collect(chosen(cluster), node_program())
        if json:
            show(found)
        else:
            print((CLEAR if watch and sys.stdout.isatty() else "") + statuses.text(found), flush=True)
        if not watch:
            break
        time.sleep(watch)
    if not found["healthy"]:
        raise Exit(code=1)


@task(
    help={
        "cluster": CLUSTER_HELP,
        "merge": "put it into ~/.kube/config (or the first file of $KUBECONFIG), until the cluster is taken down",
        "switch": "with --merge: make it the current context there",
    }
)
def kubeconfig(_: Context, cluster: str | None = None, merge: bool = False, switch: bool = True) -> None:
    """Print the path of a cluster's kubeconfig; with --merge the name of its context in your own.

    Examples:

      export KUBECONFIG=$(usernetes kubeconfig)
      usernetes kubeconfig --merge
      usernetes kubeconfig --cluster demo --merge --no-switch
    """
    state = chosen(cluster)
    if merge:
        print(merging.merge(state.directory, state.name, merging.own_file(environment()), switch=switch))
    else:
        print(state.kubeconfig)


@task(help={"cluster": CLUSTER_HELP})
def kubectl(context: Context, cluster: str | None = None) -> None:
    """Run the bundle's kubectl against a cluster; what follows is kubectl's own.

    Examples:

      usernetes kubectl get nodes
      usernetes kubectl --cluster demo logs -f deployment/web
    """
    state = running(cluster)
    binary = f"{state.read()['bundle']['root']}/bin/kubectl"
    ours = {"KUBECONFIG": str(state.kubeconfig), "KUBECACHEDIR": str(state.directory / "kubectl")}  # gone with `down`
    try:
        os.execve(binary, ["kubectl", *context.config.words], {**beside(state, environment()), **ours})
    except OSError as error:
        raise UsernetesError(
            error.strerror or str(error),
            tried=f"run {binary}",
            remedy="KUBECONFIG=$(usernetes kubeconfig) and a kubectl",
        ) from error


@task(
    iterable=["component"],
    help={
        "cluster": CLUSTER_HELP,
        "node": "which node (default: the first)",
        "component": "which component, as kubelet; may be given again (default: all)",
        "lines": "how many lines of each log",
        "follow": "go on with what comes, until the node ends",
        "all": "of all nodes, with status, versions, events: what helps somebody else to help (needs --out)",
        "out": "where --all puts it: a new folder, or an archive as logs.tar.gz; nothing in it is secret",
    },
)
def logs(
    _: Context,
    cluster: str | None = None,
    node: str | None = None,
    component: list[str] | None = None,
    lines: int = 50,
    follow: bool = False,
    all: bool = False,  # noqa: A002  the flag's name
    out: str | None = None,
) -> None:
    """Print the logs of a node's components; with --all collect everything that tells what happened.

    Exit code 1 when a node did not answer: what there is of the others is there.

    Examples:

      usernetes logs --component kubelet --node node1
      usernetes logs --follow
      usernetes logs --all --out what-happened.tar.gz
    """
    if lines < 0:
        raise UsageError(f"--lines: expected a whole number >= 0, got {lines}")
    state = chosen(cluster)
    if all or out:
        if not (all and out):
            raise UsageError("--all and --out go together", remedy="usernetes logs --all --out what-happened.tar.gz")
        lacking = support.collect(state, node_program(), Path(out), versions())
        print(Path(out).absolute())
        if lacking:
            raise UsernetesError(f"not all could be had:\n  {chr(10).join(lacking)}")
        return
    document = state.read()
    members = members_of(document)
    member = members.named(node) if node else members.first
    launcher = launcher_from_state(document["launcher"], node_program())
    argv = [*launcher.node_program(member.host), "logs", member.directory, f"--lines={lines}"]
    argv += [f"--component={item}" for item in component or []]
    try:
        if not follow:
            print(launcher.run(member.host, argv, timeout=60).check(member.name).stdout, end="")
            return
        code = launcher.stream(member.host, [*argv, "--follow"])
    finally:
        launcher.close()
    if code:
        raise Exit(code=code if code > 0 else 128 - code)
    report().line(f"{member.name} has ended")


TASKS = (status, kubeconfig, kubectl, logs)
