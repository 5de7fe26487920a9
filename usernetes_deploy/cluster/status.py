"""What `usernetes status` says: one document, gathered from the API and from every node itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.cluster.launchers import ends_with_host, launcher_from_state
from usernetes_deploy.cluster.membership import Member, Membership
from usernetes_deploy.cluster.nodes import ask_nodes
from usernetes_deploy.cluster.record import loss_words, losses_of, members_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.phases.wait_ready import how_last, is_ready

SCHEMA = 1
API_SAMPLES = 5
WARN_DAYS = 30


def collect(state: ClusterState, program: Path) -> dict[str, Any]:
    """The status document (see schema/status.json); a node or an API that does not answer is part of it."""
    document = state.read()
    members = members_of(document)
    stopped = members.phase() == "stopped"
    launcher = launcher_from_state(document["launcher"], program)
    try:
        outcome = ask_nodes(launcher, [] if stopped else members.present())
    finally:
        launcher.close()
    api, objects = (no_api("the cluster is stopped"), {}) if stopped else ask_api(state)
    nodes = [
        node_status(member, outcome.results.get(member.name), outcome.failures.get(member.name), objects)
        for member in members.present()
    ]
    answers = [node["dns"] for node in nodes if node["dns"]]
    dns = next((answer for answer in answers if not answer["ok"]), answers[0] if answers else None)
    well = all(is_well(node) for node in nodes) and members.phase() == "running"
    return {
        "schema": SCHEMA,
        "cluster": document["name"],
        "phase": document["phase"],
        "healthy": bool(well and api["ready"] and dns and dns["ok"]),
        "created": document["created"],
        "ageSeconds": round((datetime.now(UTC) - datetime.fromisoformat(document["created"])).total_seconds()),
        "launcher": document["launcher"]["launcher"],
        "server": document["server"],
        "version": document["version"],
        "bundle": document["bundle"]["digest"],
        "api": api,
        "certificates": certificates_of(members),
        "dns": dns,
        "limitsEnforced": all(node["limitsEnforced"] for node in nodes),
        "givenUp": members.given_up(),
        "losses": losses_of(members),
        "nodes": nodes,
    }


def certificates_of(members: Membership) -> dict[str, Any]:
    """When the nodes' certificates end: all are renewed together, but for nodes that do not answer."""
    return left_until(max((member.certificates_end for member in members.running()), default=""))


def left_until(ends: str) -> dict[str, Any]:
    """A time (ISO 8601; "" is not known) and the days until then.

    >>> left_until("")
    {'ends': None, 'daysLeft': None}
    """
    if not ends:
        return {"ends": None, "daysLeft": None}
    return {"ends": ends, "daysLeft": (datetime.fromisoformat(ends) - datetime.now(UTC)).days}


def ask_api(state: ClusterState) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whether the API is ready and its latency (ms, of /readyz over one connection), and its Node objects by name."""
    answer = no_api(None)
    try:
        api = state.api(timeout=5)
        try:
            answer["ready"] = api.get("/readyz") == "ok"
            answer["latencyMs"] = round(statistics.median(_timed(api) for _ in range(API_SAMPLES)), 2)
            items = api.get("/api/v1/nodes")["items"]
        finally:
            api.close()
    except UsernetesError as error:
        answer["error"] = error.headline()
        items = []
    return answer, {item["metadata"]["name"]: item for item in items}


def no_api(why: str | None) -> dict[str, Any]:
    """What is said of an API that does not answer, for this reason."""
    return {"ready": False, "latencyMs": None, "error": why}


def _timed(api: Api) -> float:
    began = time.perf_counter()
    api.get("/readyz")
    return (time.perf_counter() - began) * 1000


def node_status(
    member: Member,
    answer: Mapping[str, Any] | None,
    failure: BaseException | None,
    objects: Mapping[str, Any],
) -> dict[str, Any]:
    """One node: what was recorded, what it says of itself, and what the API thinks of it."""
    keeper = (answer or {}).get("keeper") or {}
    node = (answer or {}).get("node") or {}
    item = objects.get(member.name)
    place = member.at
    return {
        "name": member.name,
        "state": str(member.state),
        "host": member.host.name,
        "address": node.get("hostAddress") or place.address,
        "interface": place.interface,
        "interfaceWhy": place.why,
        "nodeIP": node.get("nodeIP"),
        "controlPlane": member.index == 0,
        "alive": bool(keeper.get("alive")),
        "ready": item is not None and is_ready(item),
        "restarts": keeper.get("restarts", 0),
        "lastExit": keeper.get("lastExit"),
        "error": str(failure) if failure else None,
        "problems": node.get("problems", []),
        "limitsEnforced": node.get("cgroups", place.cgroups) == "delegated",
        "cgroups": node.get("cgroups", place.cgroups),
        "outer": place.outer,
        "snapshotter": node.get("snapshotter"),
        "directory": member.directory,
        "certificates": left_until(member.certificates_end),
        "keeper": keeper.get("pid") or member.handle.get("pid"),
        "components": node.get("components", []),
        "threads": node.get("threads", []),
        "network": node.get("network"),
        "dns": node.get("dns"),
        "images": node.get("images", []),
        "disk": node.get("disk"),
        "limits": node.get("limits", {}),
        "phases": node.get("phases", {}),
    }


def expiry_words(certificates: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """A warning when all certificates end soon, or one for each node whose do: it missed `renew`.

    >>> expiry_words({"ends": "2026-12-01T00:00:00+00:00", "daysLeft": 4})
    ['CERTS   end in 4 days (2026-12-01T00:00:00+00:00); fix: usernetes renew']
    """
    if _soon(certificates):
        return [f"CERTS   {_when(certificates)}; fix: usernetes renew"]
    late = [node for node in nodes if _soon(node["certificates"])]
    return [f"CERTS   of {node['name']} {_when(node['certificates'])}; fix: usernetes renew" for node in late]


def _soon(certificates: Mapping[str, Any]) -> bool:
    left = certificates["daysLeft"]
    return left is not None and left < WARN_DAYS


def _when(certificates: Mapping[str, Any]) -> str:
    left, ends = certificates["daysLeft"], certificates["ends"]
    return f"end in {left} days ({ends})" if left >= 0 else f"HAVE ENDED ({ends})"


def is_well(node: Mapping[str, Any]) -> bool:
    """Whether a node is Ready, has nothing to complain of, and nothing that it does is down."""
    down = [item for item in node["components"] if item["state"] in ("backing off", "stopped")]
    down += [item for item in node["threads"] if not item["working"]]
    full = node["disk"] and node["disk"]["full"]
    # The API calls a node Ready for up to 50 s after its kubelet has ended.
    running = {item["name"] for item in node["components"] if item["state"] in ("starting", "running")}
    here = running >= {"containerd", "kubelet"}
    return bool(node["ready"] and node["alive"]) and here and not node["problems"] and not down and not full


def text(found: Mapping[str, Any]) -> str:
    """The document for people."""
    if found["phase"] == "stopped":
        return stopped_text(found)
    api, dns = found["api"], found["dns"]
    lines = [
        f"cluster {found['cluster']}: {'well' if found['healthy'] else 'NOT WELL'}, {found['phase']}, "
        f"{age(found['ageSeconds'])} old, {found['launcher']} launcher",
        f"API     {found['server']}  "
        + (f"ready, {api['latencyMs']} ms" if api["ready"] else f"NOT READY: {api['error']}"),
        "DNS     " + (f"answers in {dns['ms']} ms" if dns and dns["ok"] else f"NO ANSWER: {dns and dns['error']}"),
        *outside_words(dns and dns.get("outside")),
        *expiry_words(found["certificates"], found["nodes"]),
        "limits  "
        + (
            "enforced (delegated cgroups)"
            if found["limitsEnforced"]
            else "resource limits of pods are NOT enforced (no delegated cgroups)"
        ),
        "",
    ]
    rows = [["NODE", "STATE", "ADDRESS", "NODE-IP", "NETWORK", "RESTARTS", "IMAGES", "COMPONENTS"]]
    rows += [
        [
            node["name"],
            "Ready" if node["ready"] and node["alive"] else "NotReady" if node["alive"] else "GONE",
            f"{node['address']} ({node['interface']})",
            node["nodeIP"] or "-",
            network_words(node["network"]),
            str(node["restarts"] + sum(item["restarts"] for item in node["components"])),
            str(len(node["images"])),
            component_words(node["components"]),
        ]
        for node in found["nodes"]
    ]
    lines.append(table(rows))
    for node in found["nodes"]:
        lines += [f"{node['name']}: {problem}" for problem in [*node["problems"], *filter(None, [node["error"]])]]
        lines += disk_words(node["name"], node["disk"])
        if not node["alive"] and not node["error"]:
            who = f"its keeper (pid {node['keeper']}) is gone" if node["keeper"] else "it has no keeper"
            lines.append(f"{node['name']}: {who}; its logs are in {node['directory']}/logs")
        if node["state"] == "leaving":
            name = node["name"]
            lines.append(f"{name}: it is leaving; fix, when no `remove` is at work any more: usernetes remove {name}")
        lines += [
            f"{node['name']}: {item['name']} was restarted {item['restarts']} times, last: {how_last(item)}"
            for item in node["components"]
            if item["restarts"]
        ]
        lines += [
            f"{node['name']}: {item['name']} failed {item['failures']} times, last: {item['lastError']}; "
            + ("it goes on" if item["working"] else "it is tried again")
            for item in node["threads"]
        ]
        if node["restarts"]:
            lines.append(f"{node['name']}: the node was restarted {node['restarts']} times, last: {node['lastExit']}")
    if not any(node["alive"] or node["error"] for node in found["nodes"]) and not ends_with_host(found["launcher"]):
        lines.append(f"all nodes are gone, their folders are there; fix: usernetes start --cluster {found['cluster']}")
    lines += [f"lost: {loss_words(loss)}" for loss in found["losses"]]
    lines += [f"given up: {name}: {why}" for name, why in found["givenUp"].items()]
    return "\n".join(lines)


def stopped_text(found: Mapping[str, Any]) -> str:
    """A stopped cluster for people: what there is, and how it comes back."""
    rows = [["NODE", "STATE", "FOLDER"]]
    rows += [[node["name"], "stopped", node["directory"]] for node in found["nodes"]]
    return (
        f"cluster {found['cluster']}: stopped, {age(found['ageSeconds'])} old, {found['launcher']} launcher\n"
        f"its data, images and volumes are kept; fix: usernetes start --cluster {found['cluster']}\n\n{table(rows)}"
    )


def outside_words(outside: Mapping[str, Any] | None) -> list[str]:
    """A line about names outside the cluster when a resolver for them is silent, with the remedy when all are.

    >>> outside_words({"asked": ["192.0.2.53", "10.0.2.3"], "silent": ["192.0.2.53"]})
    ['        names outside the cluster: no answer from 192.0.2.53; asking 10.0.2.3']
    """
    if not outside or not outside["silent"]:
        return []
    line = f"        names outside the cluster: no answer from {', '.join(outside['silent'])}"
    rest = [server for server in outside["asked"] if server not in outside["silent"]]
    remedy = "fix: name one that the first host reaches: usernetes up --set network.nameservers=[ADDRESS]"
    return [line + (f"; asking {rest[0]}" if rest else f"; {remedy}")]


def disk_words(node: str, disk: Mapping[str, Any] | None) -> list[str]:
    """A line about a disk that is nearly full: what is left, and what of it is the node's own.

    >>> parts = {"containerd": 3 << 30, "logs": 1 << 20}
    >>> disk = {"path": "/data/ab-0", "size": 9 << 30, "left": 0, "percent": 100, "full": True, "parts": parts}
    >>> print(*disk_words("node0", disk))
    node0: the disk of /data/ab-0 is FULL (0 MiB of 9.0 GiB left); the node has containerd 3.0 GiB, logs 1 MiB there; \
fix: make room there, or start the cluster elsewhere: usernetes up --set storage.nodeDirectory=DIR
    """
    if not disk or not (disk["full"] or disk["parts"]):
        return []
    how = "FULL" if disk["full"] else f"{disk['percent']} % full"
    own = ", ".join(f"{name} {size_words(size)}" for name, size in list(disk["parts"].items())[:4] if size >= 1 << 20)
    return [
        f"{node}: the disk of {disk['path']} is {how} ({size_words(disk['left'])} of {size_words(disk['size'])} left); "
        f"the node has {own or 'next to nothing'} there; "
        "fix: make room there, or start the cluster elsewhere: usernetes up --set storage.nodeDirectory=DIR"
    ]


def size_words(size: int) -> str:
    """
    >>> size_words(3 << 20), size_words(3 << 30)
    ('3 MiB', '3.0 GiB')
    """
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def network_words(network: Mapping[str, Any] | None) -> str:
    """The backend, its MTU, and how many peers it has heard from."""
    if not network:
        return "-"
    words = f"{network['backend']} mtu {network['mtu']}"
    peers = network.get("peers")
    if peers:
        heard = sum(1 for peer in peers if peer.get("handshakeAge") is not None)
        words += f", {heard}/{len(peers)} peers heard"
    return words


def component_words(components: list[Mapping[str, Any]]) -> str:
    """How many run, and which do not."""
    if not components:
        return "-"
    down = [f"{item['name']} {item['state']}" for item in components if item["state"] != "running"]
    return ", ".join(down) or f"{len(components)} running"


def age(seconds: int) -> str:
    """
    >>> age(59), age(3_700)
    ('59s', '61m')
    """
    if seconds < 120:
        return f"{seconds}s"
    return f"{seconds // 60}m" if seconds < 7200 else f"{seconds // 3600}h"
