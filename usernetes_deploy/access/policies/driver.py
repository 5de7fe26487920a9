"""What the driver asks the policies before it changes anything: sizes, node-hours, grants, exposed ports.

Every function raises `UsageError` (exit code 2) that names the policy, what it allows and what was asked.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from typing import Any

from usernetes_deploy.access import durations
from usernetes_deploy.access.policies.document import Policy
from usernetes_deploy.access.policies.library import port_range
from usernetes_deploy.errors import UsageError

HOUR = 3600.0


def check_size(policies: Iterable[Policy], nodes: int, seconds: float | None = None) -> None:
    """Refuse more nodes, or more node-hours where the time limit is known (`seconds`; None and infinity: it is not).

    >>> check_size([Policy("largest-size", "site", {"nodes": 4})], 8)
    Traceback (most recent call last):
    usernetes_deploy.errors.UsageError: policy largest-size of the site's file: 4 nodes are allowed, and these are 8
    """
    for policy in policies:
        most, hours = policy.parameters.get("nodes"), policy.parameters.get("nodeHours")
        if policy.name != "largest-size":
            continue
        if most is not None and nodes > most:
            raise UsageError(f"{policy.title}: {most} nodes are allowed, and these are {nodes}")
        known = seconds is not None and math.isfinite(seconds)
        if hours is not None and known and nodes * (seconds or 0.0) > hours * HOUR:
            length = durations.shown(seconds or 0.0)
            raise UsageError(
                f"{policy.title}: {hours} node-hours are allowed, and {nodes} nodes for {length} are more",
                remedy="fewer nodes, or a shorter time limit",
            )


def allowed_seconds(policies: Iterable[Policy], seconds: int) -> int:
    """As long as the policies allow a grant to be, and `seconds` at most.

    >>> allowed_seconds([Policy("longest-grant", "site", {"time": "30m"})], 3600)
    1800
    """
    limits = [policy.parameters["time"] for policy in policies if policy.name == "longest-grant"]
    return min([seconds, *(durations.seconds(limit, "time") for limit in limits)])


def check_grant(policies: Iterable[Policy], seconds: int) -> None:
    """Refuse a grant that is longer than allowed."""
    for policy in policies:
        if policy.name == "longest-grant" and seconds > durations.seconds(policy.parameters["time"], "time"):
            raise UsageError(
                f"--for: {policy.title}: at most {policy.parameters['time']}, got {durations.shown(seconds)}",
                remedy=f"--for {policy.parameters['time']}",
            )


def check_exposed(policies: Iterable[Policy], service: Mapping[str, Any], kind: str) -> None:
    """Refuse to publish a Service (as the API has it) as `kind`: NodePort or LoadBalancer."""
    spec, namespace = service["spec"], service["metadata"].get("namespace", "default")
    for policy in policies:
        if namespace in policy.exempt.get("namespaces", ()):
            continue
        if policy.name == "exposed-ports":
            wanted = _ports(spec, kind)
            bad = [str(port) for port in wanted if not _is_allowed(policy, port)]
            if bad:
                allowed = ", ".join(policy.allowed) or "no ports"
                raise UsageError(f"{policy.title}: {allowed} may be published, and not {', '.join(bad)}")
        if policy.name == "source-ranges":
            ranges = list(spec.get("loadBalancerSourceRanges") or ())
            networks = [ipaddress.ip_network(text) for text in policy.allowed]
            if kind != "LoadBalancer" or not ranges or not all(_is_within(text, networks) for text in ranges):
                raise UsageError(
                    f"{policy.title}: published Services need type LoadBalancer and loadBalancerSourceRanges "
                    f"within {', '.join(policy.allowed) or 'no network'}"
                )


def _ports(spec: Mapping[str, Any], kind: str) -> list[int]:
    """What would be published, as far as it is known before: the API chooses node ports that are not."""
    ports = spec.get("ports", ())
    numbers = [port["port"] for port in ports] if kind == "LoadBalancer" else []
    return [*numbers, *(port["nodePort"] for port in ports if port.get("nodePort"))]


def _is_allowed(policy: Policy, port: int) -> bool:
    ranges = [found for text in policy.allowed if (found := port_range(text))]
    return any(first <= port <= last for first, last in ranges)


def _is_within(text: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        asked = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return False
    return any(
        asked.version == network.version and asked.subnet_of(network)  # type: ignore[arg-type]
        for network in networks
    )
