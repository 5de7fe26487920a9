"""What a cluster answers on at its hosts' border: where a Service is published, which ports are open and for whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api, ApiError
from usernetes_deploy.cluster.launchers import launcher_from_state, shares_host
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import on_all
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.waiting import until

EXPOSE_TIMEOUT = 20.0


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


def open_ports(state: ClusterState, program: Path) -> list[dict[str, Any]]:
    """Everything the hosts answer on for this cluster: the API, the mesh, and what is published.

    `program` is the node program on this machine.
    """
    document = state.read()
    members = {member.name: member for member in members_of(document).present()}
    launcher = launcher_from_state(document["launcher"], program)

    def ask(host: Any) -> Any:
        argv = [*launcher.node_program(host), "ports", members[host.name].directory]
        return json.loads(launcher.run(host, argv, timeout=10).check(host.name).stdout)

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
        place = member.at
        address = now.get(name, place.address)
        local = shares_host(document["launcher"])  # all nodes meet on the loopback
        found.append(entry("127.0.0.1" if local else address, place.mesh_port, "udp", f"the network of {name}"))
        for status in outcome.results[name]:
            spec = status["spec"]
            protocol, number = spec["proto"], spec["parentPort"]
            is_api = number == place.api_port and protocol == "tcp"
            who = "the API" if is_api else owners.get((protocol, number), "")
            if (protocol, number) != ("udp", place.mesh_port):
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
