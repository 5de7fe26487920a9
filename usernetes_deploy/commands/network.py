"""Verbs about the cluster's border: expose a Service on the hosts, list the ports that the hosts answer on."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.access.policies.driver import check_exposed
from usernetes_deploy.access.policies.site import of_cluster
from usernetes_deploy.cluster.exposure import find_service, open_ports, where_it_answers
from usernetes_deploy.commands.common import CLUSTER_HELP, node_program, running, show
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import UsageError


@task(
    positional=["service"],
    help={
        "service": "name of the Service",
        "cluster": CLUSTER_HELP,
        "namespace": "its namespace",
        "node-port": "on a port from 30000 to 32767 instead of the Service's own",
        "off": "take it back: inside the cluster only",
    },
)
def expose(
    _: Context,
    service: str,
    cluster: str | None = None,
    namespace: str = "default",
    node_port: bool = False,
    off: bool = False,
) -> None:
    """Publish a Service on the hosts' real addresses, and print where it answers.

    Examples:

      usernetes expose web
      usernetes expose web --node-port --namespace jobs
      usernetes expose web --off
    """
    state = running(cluster)
    api = state.api()
    path = f"/api/v1/namespaces/{namespace}/services"
    there = find_service(api, path, service, namespace)
    if there["spec"].get("clusterIP") == "None":
        raise UsageError(f"Service {service} is headless: it has no address to publish")
    kind = "ClusterIP" if off else "NodePort" if node_port else "LoadBalancer"
    if not off:
        check_exposed(of_cluster(state), there, kind)
    api.request("PATCH", f"{path}/{service}", {"spec": {"type": kind}}, "application/merge-patch+json")
    if off:
        return
    for line in where_it_answers(api, f"{path}/{service}"):
        print(line)


@task(help={"cluster": CLUSTER_HELP, "json": "as JSON"})
def ports(_: Context, cluster: str | None = None, json: bool = False) -> None:
    """List the ports that the cluster's hosts answer on, and for whom.

    Examples:

      usernetes ports
      usernetes ports --json
    """
    state = running(cluster)
    found = open_ports(state, node_program())
    if json:
        show({"schema": 1, "ports": found})
        return
    rows = [["HOST", "PORT", "PROTOCOL", "FOR"]]
    rows += [[item["address"], str(item["port"]), item["protocol"], item["for"]] for item in found]
    print(table(rows))


TASKS = (expose, ports)
