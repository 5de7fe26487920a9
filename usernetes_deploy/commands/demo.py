"""The verb `demo`: a cluster, a small application on all its nodes, a look at both, and all of it gone again."""

from __future__ import annotations

import string
import time
from pathlib import Path
from typing import Any

import yaml
from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.api import Api
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster import status as statuses
from usernetes_deploy.cluster.launchers import launcher_for
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import located, node_program, report, roots
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.waiting import until

NAME = "usernetes-demo"  # `demo` is what people call their own
PATIENCE = 60.0
MANIFEST = Path(__file__).with_name("demo.yaml")


@task(help={"nodes": "how many nodes on this host", "keep": "leave the cluster up"})
def demo(_: Context, nodes: int = 3, keep: bool = False) -> None:
    """Bring up a cluster on this host, run a web server on all its nodes, visit it by name, and take it all down.

    Examples:

      usernetes demo
      usernetes demo --nodes 2 --keep
    """
    said = report()
    wanted = spec.load({"name": NAME, "nodes": nodes})
    bundle = located(None)
    context = BringUp(
        spec=wanted,
        launcher=launcher_for(wanted, node_program()),
        state=ClusterState(roots(), NAME),
        found_bundle=bundle,
        report=said,
    )
    if context.state.exists():  # an earlier demo that was ended by force
        bringup.down(context.state, said, node_program())
    bringup.up(context)
    try:
        said.line("\n$ kubectl apply -f demo.yaml   # a web server on every node, behind the Service `web`")
        api = context.api()
        try:
            began = time.monotonic()
            print(visit(api, bundle.image("busybox")[0]), flush=True)
            said.line(f"the application answered by name after {time.monotonic() - began:.1f} s")
        finally:
            api.close()
        said.line("\n$ usernetes status")
        print(statuses.text(statuses.collect(context.state, node_program())), flush=True)
    finally:
        if keep:
            said.line(f"\nthe cluster stays: export KUBECONFIG={context.state.kubeconfig}; usernetes down ends it")
        else:
            said.line("\n$ usernetes down")
            began = time.monotonic()
            bringup.down(context.state, said, node_program())
            said.line(f"in {time.monotonic() - began:.1f} s")


def visit(api: Api, busybox: str) -> str:
    """Apply the application and return what the visitor saw: how many of its 30 visits each node's server answered."""
    text = string.Template(MANIFEST.read_text(encoding="utf-8")).substitute(busybox=busybox)
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    *application, visitor = objects
    for manifest in application:
        api.apply(manifest)
    servers = "/apis/apps/v1/namespaces/default/daemonsets/web"
    until(lambda: _rolled_out(api.get(servers)), PATIENCE, "the web servers are ready", pause=0.2)
    api.apply(visitor)
    job = "/apis/batch/v1/namespaces/default/jobs/visitor"
    until(lambda: _succeeded(api.get(job)), PATIENCE, "the visitor is done", pause=0.2)
    pods = api.get("/api/v1/namespaces/default/pods?labelSelector=batch.kubernetes.io/job-name=visitor")["items"]
    done = next(pod for pod in pods if pod["status"]["phase"] == "Succeeded")
    return str(api.get(f"/api/v1/namespaces/default/pods/{done['metadata']['name']}/log")).rstrip()


def _rolled_out(item: dict[str, Any]) -> bool:
    status = item.get("status", {})
    return bool(
        status.get("desiredNumberScheduled", 0) and status.get("numberReady") == status["desiredNumberScheduled"]
    )


def _succeeded(item: dict[str, Any]) -> bool:
    status = item.get("status", {})
    if any(condition["type"] == "Failed" for condition in status.get("conditions", ())):
        raise UsernetesError("the visitor did not reach the web servers by name", tried="run the demo's application")
    return bool(status.get("succeeded"))


TASKS = (demo,)
