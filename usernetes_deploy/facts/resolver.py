"""Who resolves names? A resolver on the host's loopback cannot be reached from inside the node."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, entries, warning

COMMAND = """
for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
  [ -r $file ] || continue
  say file $file
  while read -r word rest || [ -n "$word" ]; do
    case $word in nameserver|search|domain) say $word "$rest" ;; esac
  done < $file
done
"""


@dataclass(frozen=True)
class Resolver:
    """`servers` and `search` are what a node should use; `loopback` are those of resolv.conf that it cannot."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    loopback: tuple[str, ...]


def parse(text: str) -> Resolver:
    """Read the answer: servers of resolv.conf, or those behind systemd-resolved's loopback one."""
    files: dict[str, list[tuple[str, str]]] = {}
    current = files.setdefault("", [])
    for key, value in entries("resolver", text, ["file", "nameserver", "search", "domain"]):
        if key == "file":
            current = files.setdefault(value, [])
        else:
            current.append((key, value))
    if files.pop(""):
        raise NotUnderstood("resolver", text.splitlines()[0], "before its file")
    first = files.get("/etc/resolv.conf", [])
    loopback = tuple(value for key, value in first if key == "nameserver" and _is_loopback(value))
    search = tuple(name for key, value in first if key in {"search", "domain"} for name in value.split())
    for lines in files.values():
        servers = tuple(value for key, value in lines if key == "nameserver" and not _is_loopback(value))
        if servers:
            return Resolver(servers, search, loopback)
    return Resolver((), search, loopback)


def _is_loopback(value: str) -> bool:
    try:
        return ipaddress.ip_address(value.partition("%")[0]).is_loopback
    except ValueError:
        raise NotUnderstood("resolver", f"nameserver={value}", "not an address") from None


def judge(answer: Resolver, _need: Need) -> list[Problem]:
    """Without a reachable resolver, pods know the cluster's names only."""
    if answer.servers:
        return []
    remedy = "name a resolver that the node can reach in the spec: dns.servers"
    if answer.loopback:
        what = f"the only resolver is on loopback ({', '.join(answer.loopback)})"
    else:
        what = "no resolver in /etc/resolv.conf"
    return [warning(f"{what}: pods will not resolve names outside the cluster", remedy)]
