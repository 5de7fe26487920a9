"""Who resolves names, and do they answer? One on the host's loopback is reached through the user-space NAT alone."""

from __future__ import annotations

import inspect
import ipaddress
from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, entries, warning
from usernetes_deploy.network import resolvers

COMMAND = (
    """
servers=$need_nameservers
for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
  [ -r $file ] || continue
  say file $file
  while read -r word rest || [ -n "$word" ]; do
    case $word in
      nameserver) say $word "$rest"; [ -n "$need_nameservers" ] || servers="$servers $rest" ;;
      search|domain) say $word "$rest" ;;
    esac
  done < $file
done
if [ -n "$servers" ] && [ -n "$python" ]; then
  "$python" -I -S -c '
from __future__ import annotations
import sys
"""
    + inspect.getsource(resolvers.silent)
    + """
for server in silent(sorted(set(sys.argv[1:]))):
    print("silent=" + server)
' $servers
fi
"""
)


@dataclass(frozen=True)
class Resolver:
    """`servers` and `search` are what a node should use; `loopback` are those of resolv.conf that it cannot.

    `silent` are those of all (of the spec's, when it names some) that did not answer a question.
    """

    servers: tuple[str, ...]
    search: tuple[str, ...]
    loopback: tuple[str, ...]
    silent: tuple[str, ...] = ()

    def best_first(self) -> list[str]:
        """`servers`, those that answer before those that do not; `loopback` when there are none."""
        return sorted(self.servers, key=self.silent.__contains__) or list(self.loopback)


def parse(text: str) -> Resolver:
    """Read the answer: servers of resolv.conf, or those behind systemd-resolved's loopback one."""
    files: dict[str, list[tuple[str, str]]] = {}
    current = files.setdefault("", [])
    silent = []
    for key, value in entries("resolver", text, ["file", "nameserver", "search", "domain", "silent"]):
        if key == "file":
            current = files.setdefault(value, [])
        elif key == "silent":
            silent.append(value)
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
            return Resolver(servers, search, loopback, tuple(silent))
    return Resolver((), search, loopback, tuple(silent))


def _is_loopback(value: str) -> bool:
    try:
        return ipaddress.ip_address(value.partition("%")[0]).is_loopback
    except ValueError:
        raise NotUnderstood("resolver", f"nameserver={value}", "not an address") from None


def judge(answer: Resolver, need: Need) -> list[Problem]:
    """Without a resolver that answers, pods know the cluster's names only."""
    asked = need.nameservers or (*answer.servers, *answer.loopback)
    if set(asked) - set(answer.silent):
        return []
    where = "of the spec" if need.nameservers else "in /etc/resolv.conf"
    what = f"no resolver {where} answers ({', '.join(asked)})" if asked else f"no resolver {where}"
    remedy = "name one that this host reaches: --set network.nameservers=[ADDRESS]"
    return [warning(f"{what}: pods will not resolve names outside the cluster", remedy)]
