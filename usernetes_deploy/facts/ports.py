"""Are the ports free that the node binds on the host? Each is really bound and let go."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, playbook

# Python, because POSIX sh cannot bind; the node program needs it anyway. The owner's uid is in /proc/net for all.
COMMAND = """
if [ -n "$need_ports" ] && [ -n "$python" ]; then
  "$python" -I -S -c '
import errno, socket, sys
address, ports = sys.argv[1], sys.argv[2:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for port in ports:
    kind, _, number = port.partition("/")
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    if kind == "tcp":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((address, int(number)))
        if kind == "tcp":
            s.listen(1)
        print(port + "=free")
    except OSError as error:
        owner = "-"
        for table in (kind, kind + "6"):
            try:
                rows = [row.split() for row in open("/proc/net/" + table)][1:]
            except OSError:
                continue
            for row in rows:
                if int(row[1].rsplit(":")[-1], 16) == int(number) and (kind == "udp" or row[3] == "0A"):
                    owner = row[7]
        print(port + "=" + errno.errorcode[error.errno] + " " + owner)
    s.close()
' "$need_address" $need_ports 2>&1
elif [ -n "$need_ports" ]; then for port in $need_ports; do say $port untested; done
fi
"""


@dataclass(frozen=True)
class Port:
    """`error` is the kernel's name (EADDRINUSE), "" when it is free; `owner` the uid that has it, None if unknown."""

    name: str
    error: str
    owner: int | None = None


@dataclass(frozen=True)
class Ports:
    """One answer a port asked for; `untested` are those that could not be tried (no Python)."""

    ports: tuple[Port, ...]
    untested: tuple[str, ...] = ()


def parse(text: str) -> Ports:
    """Read the answer."""
    ports = []
    untested = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        words = value.split()
        if not equals or name.partition("/")[0] not in {"tcp", "udp"} or not words:
            raise NotUnderstood("ports", line)
        if words == ["free"]:
            ports.append(Port(name, ""))
        elif words == ["untested"]:
            untested.append(name)
        elif words[0].startswith("E") and len(words) == 2:
            ports.append(Port(name, words[0], None if words[1] == "-" else int(words[1])))
        else:
            raise NotUnderstood("ports", line)
    return Ports(tuple(ports), tuple(untested))


def judge(answer: Ports, need: Need) -> list[Problem]:
    """All that were asked for must be free."""
    found = []
    for port in answer.ports:
        if port.error == "EADDRINUSE":
            owner = "" if port.owner is None else f" by uid {port.owner}"
            found.append(
                Problem(f"port {port.name} is in use{owner}", "choose another in the spec, or let it be chosen")
            )
        elif port.error == "EACCES":
            remedy = "choose one from net.ipv4.ip_unprivileged_port_start on, or " + playbook("sysctl")
            found.append(Problem(f"port {port.name} may not be bound by users (EACCES)", remedy))
        elif port.error == "EADDRNOTAVAIL":
            found.append(Problem(f"the host has no address {need.address} to bind {port.name} on", "check `interface`"))
        elif port.error:
            found.append(Problem(f"port {port.name} cannot be bound: {port.error}", "choose another in the spec"))
    return found
