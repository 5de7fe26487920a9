"""The ten ready policies: what each says, and which parameters it takes.

Every policy that the API server enforces also takes ``except``: namespaces, users and groups that it does not bind.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from usernetes_deploy.access import durations
from usernetes_deploy.errors import UsageError

EXCEPT = "except"
EXEMPTIONS = ("namespaces", "users", "groups")
Check = Callable[[Any], str]  # what was expected, or "" for a value that is right


@dataclass(frozen=True)
class Parameter:
    """One parameter: `wrong` says what was expected of a value; `items`: it is a list of such values."""

    doc: str
    wrong: Check
    items: bool = True
    needed: bool = True


@dataclass(frozen=True)
class Kind:
    """One ready policy; `by` says who enforces it: ``API``, ``driver`` or both."""

    name: str
    summary: str
    by: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    any_of: bool = False  # at least one parameter has to be there


def port_range(text: str) -> tuple[int, int] | None:
    """The first and last port of ``8080`` or ``8000-8999``; None for what is neither.

    >>> port_range("8000-8999"), port_range("99999")
    ((8000, 8999), None)
    """
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if not found:
        return None
    first, last = int(found[1]), int(found[2] or found[1])
    return (first, last) if 1 <= first <= last <= 65535 else None


def _matches(pattern: str, expected: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: "" if isinstance(value, str) and compiled.fullmatch(value) else expected


def _is_path(value: Any) -> str:
    parts = value.split("/") if isinstance(value, str) else []
    good = len(parts) > 1 and parts[0] == "" and all(parts[1:]) and not {".", ".."} & set(parts)
    return "" if (good and value.isprintable()) or value == "/" else "an absolute path, as /scratch"


def _is_port(value: Any) -> str:
    text = str(value) if type(value) in (int, str) else ""
    return "" if port_range(text) else "a port or a range of ports, as 8080 or 8000-8999"


def _is_network(value: Any) -> str:
    try:
        ipaddress.ip_network(value if isinstance(value, str) and "/" in value else "")
    except ValueError:
        return "a network, as 10.0.0.0/8"
    return ""


def _is_count(value: Any) -> str:
    return "" if type(value) is int and value >= 1 else "a whole number >= 1"


def _is_length(value: Any) -> str:
    try:
        seconds = durations.seconds(value, "") if isinstance(value, str) else 0
    except UsageError:
        seconds = 0
    return "" if seconds >= 600 else "a time of at least 10m, as 30m, 8h or 2d"


_REGISTRY = _matches(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:\d{1,5})?(/[a-z0-9._-]+)*", "a registry, as docker.io/library")
_CAPABILITY = _matches(r"[A-Z][A-Z_]*[A-Z]", "a capability, as NET_BIND_SERVICE")
_DEVICE = _matches(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", "the name of a device of the spec, as gpu")
NAMED = _matches(r"[^\s\\'\"]+", "a name")

LIBRARY: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("no-host-network", "no pod on the host's network, nor of RuntimeClass native", "API"),
        Kind(
            "host-paths",
            "volumes of the host only below these folders",
            "API",
            {"allowed": Parameter("folders; none: no such volumes at all", _is_path)},
        ),
        Kind(
            "registries",
            "images only of these registries",
            "API",
            {"allowed": Parameter("registries, or what image names begin with: docker.io/library", _REGISTRY)},
        ),
        Kind("no-privileged", "no privileged container, none in the node's process or IPC namespace", "API"),
        Kind(
            "capabilities",
            "containers may add only these capabilities",
            "API",
            {"allowed": Parameter("capabilities, as NET_BIND_SERVICE; none: none may be added", _CAPABILITY)},
        ),
        Kind(
            "devices",
            "pods may ask only for these devices (usernetes.dev/NAME)",
            "API",
            {"allowed": Parameter("names of the spec's `devices`", _DEVICE)},
        ),
        Kind(
            "exposed-ports",
            "the hosts answer for Services and pods only on these ports",
            "API, driver",
            {"allowed": Parameter("ports or ranges, as 8000-8999; none: nothing is published", _is_port)},
        ),
        Kind(
            "source-ranges",
            "published Services answer only callers of these networks",
            "API, driver",
            {"allowed": Parameter("networks, as 10.0.0.0/8", _is_network)},
        ),
        Kind(
            "longest-grant",
            "no grant for longer than this",
            "API, driver",
            {"time": Parameter("as 30m, 8h or 2d; 10m at least", _is_length, items=False)},
        ),
        Kind(
            "largest-size",
            "no cluster with more nodes or node-hours",
            "driver",
            {
                "nodes": Parameter("nodes of one cluster", _is_count, items=False, needed=False),
                "nodeHours": Parameter("nodes times hours of the job's time limit", _is_count, False, False),
            },
            any_of=True,
        ),
    )
}
