"""Resolvers for names outside the cluster: which of them answer, and in which order a node asks them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NAT = "10.0.2.3"
"""The user-space NAT's own resolver, inside the node only: it asks what the host asks, a resolver on loopback too."""


def upstreams(servers: Iterable[str]) -> list[str]:
    """What the cluster's DNS asks, in this order: those of `servers` that a node reaches, then the NAT's.

    >>> upstreams(["192.0.2.53", "127.0.0.53"])
    ['192.0.2.53', '10.0.2.3']
    """
    return [*(server for server in servers if not server.startswith("127.") and server not in ("::1", NAT)), NAT]


def resolv_conf(servers: Sequence[str]) -> str:
    """A resolv.conf for what runs on a node: two of `servers` at most, since three is all that libraries read.

    One on loopback is for native pods; elsewhere it refuses at once, and the NAT's is asked.
    """
    return "".join(f"nameserver {server}\n" for server in [*servers[:2], NAT])


def silent(servers: Sequence[str], timeout: float = 0.6, grace: float = 0.2) -> list[str]:
    """Those of `servers` that do not answer (UDP port 53) within `timeout` seconds, nor `grace` after the first answer.

    Complete in itself, because the probe sends this source to every host.
    """
    import select
    import socket
    import time

    question = bytes.fromhex("5553 0100 0001 0000 0000 0000 00 0002 0001")  # who serves the root? Any answer will do.
    waiting, answered, ends = {}, set(), time.monotonic() + timeout
    for server in servers:
        connection = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            connection.connect((server, 53))
            connection.send(question)
        except OSError:
            connection.close()
        else:
            waiting[connection] = server
    while waiting and time.monotonic() < ends:
        for connection in select.select(list(waiting), [], [], max(0.0, ends - time.monotonic()))[0]:
            server = waiting.pop(connection)
            try:
                connection.recv(512)
                answered.add(server)
                ends = min(ends, time.monotonic() + grace)
            except OSError:  # nobody listens there
                pass
            connection.close()
    for connection in waiting:
        connection.close()
    return [server for server in servers if server not in answered]
