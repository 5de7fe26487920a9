"""Which networks does the host have, which interface do nodes meet on, and do the cluster's CIDRs collide with any?"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem

COMMAND = """
echo '[links]'; ip -o link show 2>/dev/null
echo '[addresses]'; ip -o addr show 2>/dev/null
echo '[routes]'; ip -o -4 route show table all type unicast 2>/dev/null
echo '[end]'
"""


@dataclass(frozen=True)
class Interface:
    """`addresses` carry their prefix: ``"192.0.2.2/24"``; loopback and link-local ones are left out."""

    name: str
    mtu: int
    up: bool
    loopback: bool
    addresses: tuple[str, ...] = ()

    def ipv4(self) -> str:
        """The first IPv4 address, "" when there is none."""
        return next((str(ipaddress.ip_interface(a).ip) for a in self.addresses if ":" not in a), "")


@dataclass(frozen=True)
class Route:
    """`destination` is a network or "default"."""

    destination: str
    interface: str
    metric: int = 0


@dataclass(frozen=True)
class Interfaces:
    """All of them, and the IPv4 unicast routes of all tables."""

    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Choice:
    """The interface that nodes meet on; `address` is its IPv4 address; `why` is for people."""

    interface: str
    address: str
    mtu: int
    why: str


def parse(text: str) -> Interfaces:
    """Read the answer."""
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("["):
            current = sections.setdefault(line, [])
        elif current is None:
            raise NotUnderstood("interfaces", line)
        else:
            current.append(line)
    if set(sections) != {"[links]", "[addresses]", "[routes]", "[end]"}:
        raise NotUnderstood("interfaces", text.strip()[-200:], "cut short")
    addresses: dict[str, list[str]] = {}
    for line in sections["[addresses]"]:
        match = re.match(r"\d+: (\S+)\s+(inet6?) (\S+)", line)
        if not match:
            raise NotUnderstood("interfaces", line)
        try:
            address = ipaddress.ip_interface(match[3])
        except ValueError:
            raise NotUnderstood("interfaces", line) from None
        if not address.is_link_local and not address.is_loopback:
            addresses.setdefault(match[1], []).append(str(address))
    links = [_link(line, addresses) for line in sections["[links]"]]
    return Interfaces(tuple(links), tuple(route for line in sections["[routes]"] for route in _routes(line)))


def _link(line: str, addresses: dict[str, list[str]]) -> Interface:
    match = re.match(r"\d+: ([^:@\s]+)(?:@[^:\s]+)?: <([^>]*)> mtu (\d+)", line)
    if not match:
        raise NotUnderstood("interfaces", line)
    flags = match[2].split(",")
    return Interface(match[1], int(match[3]), "UP" in flags, "LOOPBACK" in flags, tuple(addresses.get(match[1], ())))


def _routes(line: str) -> list[Route]:
    words = line.split()
    destination = words[1] if words[0] == "unicast" else words[0]
    if destination != "default":
        try:
            destination = str(ipaddress.ip_network(destination))
        except ValueError:
            raise NotUnderstood("interfaces", line) from None
    metric = int(match[1]) if (match := re.search(r"\bmetric (\d+)", line)) else 0
    return [Route(destination, name, metric) for name in re.findall(r"\bdev (\S+)", line)]


def choose(answer: Interfaces, wanted: str) -> Choice | str:
    """The interface `wanted` (name, CIDR, or "" for the default route's), or the reason why there is none.

    >>> eth0 = Interface("eth0", 1500, True, False, ("192.0.2.2/24",))
    >>> choose(Interfaces((eth0,), (Route("default", "eth0"),)), "")
    Choice(interface='eth0', address='192.0.2.2', mtu=1500, why='carries the default route')
    """
    usable = [one for one in answer.interfaces if one.up and not one.loopback and one.ipv4()]
    there = f"(there are: {', '.join(f'{one.name} {one.ipv4()}' for one in usable) or 'none'})"
    if "/" in wanted or re.fullmatch(r"[\d.]+", wanted) or ":" in wanted:
        return _in_network(usable, wanted, there)
    if wanted:
        for one in usable:
            if one.name == wanted:
                return Choice(one.name, one.ipv4(), one.mtu, "named in the spec")
        state = "is down or has no IPv4 address" if any(i.name == wanted for i in answer.interfaces) else "is not here"
        return f"interface {wanted} {state} {there}"
    by_name = {one.name: one for one in usable}
    for route in sorted(answer.routes, key=lambda route: route.metric):
        if route.destination == "default" and route.interface in by_name:
            one = by_name[route.interface]
            return Choice(one.name, one.ipv4(), one.mtu, "carries the default route")
    if len(usable) == 1:
        return Choice(usable[0].name, usable[0].ipv4(), usable[0].mtu, "is the only one that is up")
    return f"no interface carries a default route {there}"


def _in_network(usable: list[Interface], wanted: str, there: str) -> Choice | str:
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return f"{wanted!r} is neither an interface nor a CIDR"
    for one in usable:
        for address in one.addresses:
            ip = ipaddress.ip_interface(address).ip
            if ip in network:
                return Choice(one.name, str(ip), one.mtu, f"has an address in {network}")
    return f"no interface has an address in {network} {there}"


def collisions(answer: Interfaces, cidrs: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """The ``(cidr, network, interface)`` where a CIDR of the cluster overlaps a network that the host can reach."""
    networks = {(route.destination, route.interface) for route in answer.routes if route.destination != "default"}
    for one in answer.interfaces:
        networks |= {(str(ipaddress.ip_interface(a).network), one.name) for a in one.addresses if ":" not in a}
    return [
        (cidr, network, interface)
        for cidr in cidrs
        for network, interface in sorted(networks)
        if ipaddress.ip_network(cidr).overlaps(ipaddress.ip_network(network))
    ]


def judge(answer: Interfaces, need: Need) -> list[Problem]:
    """An interface is found, and no CIDR collides."""
    found = []
    choice = choose(answer, need.interface)
    if isinstance(choice, str):
        found.append(Problem(choice, "name one in the spec: interface, a name or a CIDR"))
    for cidr, network, interface in collisions(answer, need.cidrs):
        found.append(
            Problem(
                f"the cluster's {cidr} overlaps {network}, which this host reaches over {interface}",
                "choose other CIDRs in the spec",
            )
        )
    return found
