"""Verbs about the cluster's network: run and shell inside it, expose and ports at its border."""

from __future__ import annotations

import json as jsonlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.api import Api, ApiError
from usernetes_deploy.cluster.addressing import dns_ip
from usernetes_deploy.cluster.launchers import launcher_from_state, shares_host
from usernetes_deploy.cluster.nodes import RecordedNode, members_of
from usernetes_deploy.cluster.spec import ClusterSpec, load
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import CLUSTER_HELP, chosen, environment, node_program, show
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import on_all
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.waiting import until

NODE_HELP = "which node's network to enter (default: the one on this host)"
NAMESPACE_HELP = "namespace whose Services have short names"
EXPOSE_TIMEOUT = 20.0


@task(
    help={
        "cluster": CLUSTER_HELP,
        "node": NODE_HELP,
        "namespace": NAMESPACE_HELP,
        "socks": "no command: a SOCKS5 proxy on this host's loopback, for programs that must stay outside",
    }
)
def run(
    context: Context,
    cluster: str | None = None,
    node: str | None = None,
    namespace: str = "default",
    socks: bool = False,
) -> None:
    """Run a command of this host inside the cluster's network: same user, files and CPUs, the cluster's DNS.

    With --node of another host it runs there, without input or terminal.

    Examples:

      usernetes run -- redis-cli -h redis.default
      usernetes run --namespace jobs -- ./solver --server broker:7000
      usernetes run --socks
    """
    words = list(context.config.words)
    if bool(words) == socks:
        raise UsageError("expected a command after --, or --socks", remedy="usernetes run -- getent hosts kubernetes")
    state = chosen(cluster)
    if socks:
        serve_socks(state, node, namespace)
    else:
        enter(state, node, namespace, words)


@task(help={"cluster": CLUSTER_HELP, "node": NODE_HELP, "namespace": NAMESPACE_HELP})
def shell(_: Context, cluster: str | None = None, node: str | None = None, namespace: str = "default") -> None:
    """Start your shell inside the cluster's network, on a host of the cluster.

    Examples:

      usernetes shell
    """
    state = chosen(cluster)
    member = member_for(state.read(), node)
    if not runs_here(member):
        raise UsageError(
            f"{member.host.name} is not on this host, and a shell on another has no terminal",
            remedy=f"log in to the host of {member.host.name} and start the shell there, or: usernetes run -- COMMAND",
        )
    enter(state, node, namespace, [environment().get("SHELL") or "/bin/sh"])


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
    api = chosen(cluster).api()
    path = f"/api/v1/namespaces/{namespace}/services"
    there = find_service(api, path, service, namespace)
    if there["spec"].get("clusterIP") == "None":
        raise UsageError(f"Service {service} is headless: it has no address to publish")
    kind = "ClusterIP" if off else "NodePort" if node_port else "LoadBalancer"
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
    state = chosen(cluster)
    found = open_ports(state)
    if json:
        show({"schema": 1, "ports": found})
        return
    rows = [["HOST", "PORT", "PROTOCOL", "FOR"]]
    rows += [[item["address"], str(item["port"]), item["protocol"], item["for"]] for item in found]
    print(table(rows))


def enter(state: ClusterState, node: str | None, namespace: str, command: list[str]) -> None:
    """Become `command` inside the network of a node; on another host, run it there and print what it prints."""
    document = state.read()
    member = member_for(document, node)
    verb = [*inside_argv(document, namespace), member.directory]
    if runs_here(member):
        program = [sys.executable, str(node_program())]
        os.execv(program[0], [*program, *verb, "--", *command])
    launcher = launcher_from_state(document["launcher"], node_program())
    try:
        code = launcher.stream(member.host, [*launcher.node_program(member.host), *verb, "--", *command])
    finally:
        launcher.close()
    if code:
        sys.exit(code if code > 0 else 128 - code)


def serve_socks(state: ClusterState, node: str | None, namespace: str) -> None:
    """Become a proxy on loopback; the password goes to it on stdin and to the user on stdout."""
    document = state.read()
    member = member_for(document, node)
    if not runs_here(member):
        raise UsageError(f"{member.host.name} is not on this host", remedy="start the proxy on a host of the cluster")
    password = secrets.token_urlsafe(16)
    read, write = os.pipe()
    os.write(write, password.encode())
    os.close(write)
    os.dup2(read, 0)
    program = [sys.executable, str(node_program())]
    os.execv(program[0], [*program, *inside_argv(document, namespace), "--socks", member.directory])


def inside_argv(document: Mapping[str, Any], namespace: str) -> list[str]:
    """The node program's words for entering a node's network; its folder comes after them."""
    spec = spec_of(document)
    return [
        "inside",
        f"--dns={dns_ip(spec)}",
        f"--domain={spec.network.dns_domain}",
        f"--namespace={namespace}",
    ]


def spec_of(document: Mapping[str, Any]) -> ClusterSpec:
    """The spec that the cluster was made from."""
    return load(document["spec"])


def member_for(document: Mapping[str, Any], node: str | None) -> RecordedNode:
    """The node by its name, or the first that runs on this host, or the first of all."""
    members = members_of(document)
    if node:
        for member in members:
            if member.host.name == node:
                return member
        names = ", ".join(member.host.name for member in members)
        raise UsageError(f"cluster {document['name']} has no node {node}; its nodes are {names}")
    return next((member for member in members if runs_here(member)), members[0])


def runs_here(member: RecordedNode) -> bool:
    """Whether the node's processes are on this host: its folder is local, and its child is alive."""
    try:
        child = int((Path(member.directory) / "rk" / "child_pid").read_text())
    except (OSError, ValueError):
        return False
    return Path(f"/proc/{child}").exists()


def find_service(api: Api, path: str, name: str, namespace: str) -> Mapping[str, Any]:
    """The Service; raises `UsageError` that names those there are."""
    try:
        return dict(api.get(f"{path}/{name}"))
    except ApiError as error:
        if error.status != 404:
            raise
        names = ", ".join(item["metadata"]["name"] for item in api.get(path)["items"]) or "none"
        raise UsageError(f"there is no Service {name} in namespace {namespace}; there are: {names}") from None


def where_it_answers(api: Api, path: str) -> list[str]:
    """Wait until a Service is published; the addresses and ports of the hosts, one a line."""
    return until(
        lambda: published(api, path),
        EXPOSE_TIMEOUT,
        "the Service is published",
        tried=f"expose {path.rpartition('/')[2]}",
        remedy="usernetes logs",
    )


def published(api: Api, path: str) -> list[str]:
    """Where a Service answers now; [] while it does not. Raises `UsernetesError` when it never will."""
    service = api.get(path)
    if service["spec"]["type"] == "NodePort":
        there = dict.fromkeys(hosts(api).values())
        return [f"{host}:{port['nodePort']}" for host in there for port in service["spec"]["ports"]]
    refused = [event["message"] for event in events_of(api, service) if event["reason"] == "SourceRangesRefused"]
    if refused:
        raise UsernetesError(refused[0], tried=f"expose {service['metadata']['name']}")
    ingress = service["status"].get("loadBalancer", {}).get("ingress") or []
    return [line for entry in ingress for line in answering(entry, service["spec"]["ports"])]


def answering(entry: Mapping[str, Any], ports: list[Mapping[str, Any]]) -> list[str]:
    """What one host answers on: a Service's port, or its node port where that could not be had.

    >>> answering({"ip": "192.0.2.1", "ports": [{"port": 80, "error": "usernetes.dev/PortPrivileged"}]},
    ...           [{"port": 80, "nodePort": 30080}])
    ['192.0.2.1:30080']
    """
    failed = {item["port"] for item in entry.get("ports", ()) if item.get("error")}
    numbers = [port.get("nodePort") if port["port"] in failed else port["port"] for port in ports]
    return [f"{entry['ip']}:{number}" for number in numbers if number]


def events_of(api: Api, item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The events about an object."""
    metadata = item["metadata"]
    query = f"fieldSelector=involvedObject.uid={metadata['uid']}"
    return list(api.get(f"/api/v1/namespaces/{metadata['namespace']}/events?{query}")["items"])


def hosts(api: Api) -> dict[str, str]:
    """The real address of each node's host as it is now, by the nodes' names."""
    data = api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}").get("data") or {}
    return dict(sorted(data.items()))


def open_ports(state: ClusterState) -> list[dict[str, Any]]:
    """Everything the hosts answer on for this cluster: the API, the mesh, and what is published."""
    document = state.read()
    members = {member.host.name: member for member in members_of(document)}
    launcher = launcher_from_state(document["launcher"], node_program())

    def ask(host: Any) -> Any:
        argv = [*launcher.node_program(host), "ports", members[host.name].directory]
        return jsonlib.loads(launcher.run(host, argv, timeout=10).check(host.name).stdout)

    try:
        outcome = on_all((member.host for member in members.values()), ask, deadline=15).check("list the ports")
    finally:
        launcher.close()
    api = state.api()
    try:
        owners, now = port_owners(api), hosts(api)
    finally:
        api.close()
    found = []
    for name, member in members.items():
        record = member.record
        address = now.get(name, record["address"])
        local = shares_host(document["launcher"])  # all nodes meet on the loopback
        found.append(entry("127.0.0.1" if local else address, record["meshPort"], "udp", f"the network of {name}"))
        for status in outcome.results[name]:
            spec = status["spec"]
            protocol, number = spec["proto"], spec["parentPort"]
            is_api = number == record["apiPort"] and protocol == "tcp"
            who = "the API" if is_api else owners.get((protocol, number), "")
            if (protocol, number) != ("udp", record["meshPort"]):
                found.append(entry(address, number, protocol, who))
    return sorted(found, key=lambda item: (item["address"], item["protocol"], item["port"]))


def entry(address: str, port: int, protocol: str, owner: str) -> dict[str, Any]:
    """One row of `usernetes ports`."""
    return {"address": address, "port": port, "protocol": protocol, "for": owner}


def port_owners(api: Api) -> dict[tuple[str, int], str]:
    """Which Service or pod a published port belongs to."""
    owners: dict[tuple[str, int], str] = {}
    for pod in api.get("/api/v1/pods")["items"]:
        for container in pod["spec"].get("containers", ()):
            for port in container.get("ports", ()):
                if port.get("hostPort"):
                    key = (port.get("protocol", "TCP").lower(), port["hostPort"])
                    owners[key] = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for service in api.get("/api/v1/services")["items"]:
        for port in service["spec"].get("ports", ()):
            protocol = port.get("protocol", "TCP").lower()
            for number in (port["port"], port.get("nodePort")):
                if number and service["spec"].get("type") in ("NodePort", "LoadBalancer"):
                    owners[(protocol, number)] = (
                        f"Service {service['metadata']['namespace']}/{service['metadata']['name']}"
                    )
    return owners


TASKS = (run, shell, expose, ports)
