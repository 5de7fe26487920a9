"""From NetworkPolicies, pods and namespaces to an nftables script for one node. Nothing here runs anything.

Packets are judged where they are forwarded, after kube-proxy has chosen a pod for a Service: what a pod sends and what
it gets, both on its own node. Two base chains, so that what one lets through the other still sees. Standard library and
Python 3.9 only: nodes run this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

TABLE = "usernetes_policies"
NONE = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
DNS_NAMESPACE, DNS_LABELS = "kube-system", {"k8s-app": "kube-dns"}
OVER = ("Succeeded", "Failed")
Object = Mapping[str, Any]


class Peer(NamedTuple):
    """A pod as others see it: `ports` are its named ones, (name, protocol) -> number."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: Mapping[tuple[str, str], int]


def script(
    policies: Iterable[Object], pods: Iterable[Object], namespaces: Iterable[Object], node: str, dns: str
) -> str:
    """The whole table, to be loaded at once: it replaces the one before. `dns` is where the cluster's DNS answers.

    It is a process of the first node, so it is treated as the pod that charts' policies look for: labels
    ``k8s-app: kube-dns`` in kube-system.

    >>> script([], [], [], "node0", "10.64.0.1") == NONE
    True
    """
    chosen = sorted(policies, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"]))
    if not chosen:
        return NONE
    spaces = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in namespaces}
    there = [pod for pod in pods if _has_own_address(pod)]
    peers = [_peer(pod) for pod in there] + [Peer(DNS_NAMESPACE, DNS_LABELS, dns, {})]
    mine_here = [pod for pod in there if pod["spec"].get("nodeName") == node]
    # An address has one chain: where a pod that ends has left its own to the next already, it is the next one's.
    by_end = sorted(mine_here, key=lambda pod: not pod["metadata"].get("deletionTimestamp"))
    local = sorted({pod["status"]["podIP"]: _peer(pod) for pod in by_end}.values(), key=lambda one: one.address)
    chains: list[str] = []
    maps: dict[str, list[str]] = {"out": [], "in": []}
    for number, pod in enumerate(local):
        mine = [one for one in chosen if _selects_pod(one, pod)]
        for way, kind, field in (("out", "Egress", "egress"), ("in", "Ingress", "ingress")):
            closing = [one["spec"] for one in mine if kind in _types(one["spec"])]
            if not closing:
                continue
            name = f"{way}_{number}"
            rules = [
                line
                for one in closing
                for rule in one.get(field) or ()
                for line in _rule(rule, way, pod, peers, spaces)
            ]
            itself = f"ip saddr {pod.address} ip daddr {pod.address} accept"  # through a Service
            chains.append(_chain(name, [itself, *rules]))
            maps[way].append(f"{pod.address} : jump {name}")
    base = [_base(way, maps[way]) for way in ("out", "in")]
    return NONE + f"table ip {TABLE} {{\n" + "".join([*chains, *base]) + "}\n"


def matches(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses something with these labels; an empty one chooses all.

    >>> matches({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}, {"app": "web"})
    True
    >>> matches({"matchLabels": {"app": "db"}}, {"app": "web"})
    False
    """
    chosen = selector or {}
    if any(labels.get(key) != value for key, value in (chosen.get("matchLabels") or {}).items()):
        return False
    return all(_holds(one, labels) for one in chosen.get("matchExpressions") or ())


def _holds(one: Object, labels: Mapping[str, str]) -> bool:
    key, operator, values = one["key"], one["operator"], one.get("values") or ()
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return bool((key in labels) == (operator == "Exists"))


def _has_own_address(pod: Object) -> bool:
    status, spec = pod.get("status") or {}, pod["spec"]
    return bool(status.get("podIP")) and not spec.get("hostNetwork") and status.get("phase") not in OVER


def _peer(pod: Object) -> Peer:
    metadata = pod["metadata"]
    ports = {
        (port["name"], port.get("protocol", "TCP")): int(port["containerPort"])
        for container in [*pod["spec"].get("containers", ()), *pod["spec"].get("initContainers", ())]
        for port in container.get("ports") or ()
        if port.get("name")
    }
    return Peer(metadata["namespace"], metadata.get("labels") or {}, pod["status"]["podIP"], ports)


def _selects_pod(policy: Object, pod: Peer) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"].get("podSelector"), pod.labels)


def _types(spec: Object) -> Sequence[str]:
    """Which ways a policy closes; where it does not say: what comes in, and what goes out if it has rules for that."""
    said: Sequence[str] = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return said


def _rule(
    rule: Object, way: str, pod: Peer, peers: Sequence[Peer], spaces: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """The lines of one rule; none where it allows nobody."""
    side = "daddr" if way == "out" else "saddr"
    asked = rule.get("to" if way == "out" else "from") or ()
    found: list[Peer] = []
    blocks = []
    for one in asked:
        if "ipBlock" in one:
            block = one["ipBlock"]
            if ":" in block["cidr"]:
                continue  # IPv6: nobody here has such an address, and nft would refuse the whole table
            without = block.get("except") or ()
            less = f" ip {side} != {{ {', '.join(without)} }}" if without else ""
            blocks.append(f"ip {side} {block['cidr']}{less}")
        else:
            found += [peer for peer in peers if _is_chosen(one, pod.namespace, peer, spaces)]
    addresses = sorted({peer.address for peer in found})
    heads = ([f"ip {side} {{ {', '.join(addresses)} }}"] if addresses else []) + blocks
    if not asked:
        heads = [""]
    for port in rule.get("ports") or (None,):
        if port is None:
            yield from (f"{head} accept".strip() for head in heads)
        elif isinstance(port.get("port"), str) and not port["port"].isdigit():
            yield from _named(port, way, pod, found if asked else peers, heads)
        else:
            yield from (f"{head} {_port(port)} accept".strip() for head in heads)


def _is_chosen(one: Object, namespace: str, peer: Peer, spaces: Mapping[str, Mapping[str, str]]) -> bool:
    if "namespaceSelector" in one:
        if not matches(one["namespaceSelector"], spaces.get(peer.namespace, {})):
            return False
    elif peer.namespace != namespace:
        return False
    return matches(one.get("podSelector"), peer.labels)


def _port(port: Object) -> str:
    protocol = port.get("protocol", "TCP").lower()
    if port.get("port") is None:
        return f"meta l4proto {protocol}"
    last = port.get("endPort")
    return f"{protocol} dport {port['port']}{f'-{last}' if last else ''}"


def _named(port: Object, way: str, pod: Peer, peers: Sequence[Peer], heads: Sequence[str]) -> Iterator[str]:
    """A port by its name is the one that the pod which is asked calls so."""
    key = (port["port"], port.get("protocol", "TCP"))
    protocol = key[1].lower()
    if way == "in":
        if key in pod.ports:
            yield from (f"{head} {protocol} dport {pod.ports[key]} accept".strip() for head in heads)
        return
    for peer in peers:
        if key in peer.ports:
            yield f"ip daddr {peer.address} {protocol} dport {peer.ports[key]} accept"


def _chain(name: str, rules: Sequence[str]) -> str:
    lines = "".join(f"    {line}\n" for line in [*dict.fromkeys(rules), "drop"])
    return f"  chain {name} {{\n{lines}  }}\n"


def _base(way: str, entries: Sequence[str]) -> str:
    if not entries:
        return ""
    side, priority = ("saddr", -6) if way == "out" else ("daddr", -5)
    return (
        f"  chain {way} {{\n    type filter hook forward priority {priority}; policy accept;\n"
        "    ct state established,related accept\n"
        f"    ip {side} vmap {{ {', '.join(entries)} }}\n  }}\n"
    )
