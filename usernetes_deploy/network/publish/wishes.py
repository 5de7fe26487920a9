"""Which ports of Services and pods belong on the hosts' real addresses, and what cannot be published, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from usernetes_deploy.network.publish.rootlesskit import Forward

LOAD_BALANCER_CLASS = "usernetes.dev/hosts"
SOURCE_RANGES = "SourceRangesRefused"
PROTOCOL = "ProtocolNotExposed"
CLASH = "PortTaken"
NO_ADDRESS = "NoClusterIP"


class Wish(NamedTuple):
    """A port that an object wants published; `instead` is the port to use when this one cannot be had (0: none)."""

    forward: Forward
    owner: str  # uid
    instead: int = 0


class Refusal(NamedTuple):
    """Something of an object that is not published, with the reason of its event."""

    owner: str  # uid
    reason: str
    message: str


def of_services(services: Iterable[Mapping[str, Any]], node_ip: str) -> tuple[list[Wish], list[Refusal]]:
    """Return the ports of NodePort and LoadBalancer Services, and of those whose externalIPs name a host.

    The older Service wins where two want the same port.
    """
    wishes: list[Wish] = []
    refusals: list[Refusal] = []
    for service in sorted(services, key=_age):
        spec, uid = service["spec"], service["metadata"]["uid"]
        kind = spec.get("type", "ClusterIP")
        external = bool(spec.get("externalIPs"))
        if kind not in ("NodePort", "LoadBalancer") and not external:
            continue
        if kind == "ExternalName" or spec.get("clusterIP", "None") == "None":
            message = "it has no cluster IP, so there is nothing that its ports could be published for"
            refusals.append(Refusal(uid, NO_ADDRESS, message))
            continue
        balanced = kind == "LoadBalancer" and spec.get("loadBalancerClass", LOAD_BALANCER_CLASS) == LOAD_BALANCER_CLASS
        if kind == "LoadBalancer" and spec.get("loadBalancerSourceRanges"):
            # Published ports reach kube-proxy from the node itself: it could not tell who calls.
            message = (
                "loadBalancerSourceRanges cannot be honoured on published ports, so this Service is not published; "
                "remove the field, or restrict callers in the application"
            )
            refusals.append(Refusal(uid, SOURCE_RANGES, message))
            continue
        for port in spec.get("ports", ()):
            protocol = port.get("protocol", "TCP").lower()
            if protocol not in ("tcp", "udp"):
                refusals.append(Refusal(uid, PROTOCOL, f"{protocol.upper()} port {port['port']} cannot be published"))
                continue
            node_port = port.get("nodePort", 0)
            if node_port:
                wishes.append(Wish(Forward(protocol, node_port, node_ip, node_port), uid))
            if balanced or external:
                target = (node_ip, node_port) if node_port else (spec["clusterIP"], port["port"])
                wishes.append(Wish(Forward(protocol, port["port"], *target), uid, instead=node_port))
    return wishes, refusals


def of_pods(pods: Iterable[Mapping[str, Any]], node_ip: str) -> list[Wish]:
    """Return the hostPorts of this node's pods. Pods on a host's network bind for themselves."""
    wishes = []
    for pod in sorted(pods, key=_age):
        spec, status = pod["spec"], pod.get("status", {})
        if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
            continue
        for container in spec.get("containers", ()):
            for port in container.get("ports", ()):
                if port.get("hostPort") and port.get("hostIP", "") in ("", "0.0.0.0"):  # noqa: S104
                    protocol = port.get("protocol", "TCP").lower()
                    forward = Forward(protocol, port["hostPort"], node_ip, port["hostPort"])
                    wishes.append(Wish(forward, pod["metadata"]["uid"]))
    return wishes


def without_clashes(wishes: Iterable[Wish]) -> tuple[dict[tuple[str, int], Wish], list[Refusal]]:
    """Give each port to its first claimant; the others are refused."""
    granted: dict[tuple[str, int], Wish] = {}
    refusals = []
    for wish in wishes:
        key = (wish.forward.protocol, wish.forward.port)
        first = granted.setdefault(key, wish)
        if first is not wish and first.owner != wish.owner:
            message = f"{key[0].upper()} port {key[1]} is already published for another object of this cluster"
            refusals.append(Refusal(wish.owner, CLASH, message + _instead(wish)))
    return granted, refusals


def failure_message(wish: Wish, node: str, reason: str) -> str:
    """What the event of a port that cannot be published says."""
    return f"{node}: {wish.forward.protocol.upper()} port {wish.forward.port}: {reason}{_instead(wish)}"


def ingress(service: Mapping[str, Any], hosts: Iterable[str], failed: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return ``status.loadBalancer.ingress`` of a Service: all hosts, and for each port whether it failed and why."""
    ports = []
    for port in service["spec"].get("ports", ()):
        entry = {"port": port["port"], "protocol": port.get("protocol", "TCP")}
        if port["port"] in failed:
            entry["error"] = f"usernetes.dev/{failed[port['port']]}"
        ports.append(entry)
    return [{"ip": host, "ipMode": "VIP", "ports": ports} for host in hosts]


def _instead(wish: Wish) -> str:
    return f"; use port {wish.instead} of the hosts instead" if wish.instead else ""


def _age(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["metadata"].get("creationTimestamp", ""), item["metadata"]["uid"]
