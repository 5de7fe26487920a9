"""A SOCKS5 proxy with a password: programs that stay outside reach the cluster's network through it.

It listens on the host's loopback, where every user of the host can connect, so it asks for a name and a password
(RFC 1929). TCP only; names are resolved inside the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import socket
import struct

USER = "usernetes"
VERSION, AUTH_VERSION = 5, 1
METHOD_PASSWORD, METHOD_NONE = 2, 0xFF
CONNECT = 1
IPV4, DOMAIN, IPV6 = 1, 3, 4
GRANTED, FAILED, UNREACHABLE, REFUSED, NOT_SUPPORTED = 0, 1, 4, 5, 7
CONNECT_TIMEOUT = 20.0
HANDSHAKE_TIMEOUT = 10.0
CHUNK = 1 << 18


class RefusedError(Exception):
    """The client asked for what it cannot have; `code` is the reply of RFC 1928."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def serve(listener: socket.socket, password: str) -> None:
    """Serve until cancelled; connections are opened in the network namespace that this process is in."""
    server = await asyncio.start_server(lambda reader, writer: _client(reader, writer, password), sock=listener)
    async with server:
        await server.serve_forever()


async def _client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        try:
            if await asyncio.wait_for(_authenticate(reader, writer, password), HANDSHAKE_TIMEOUT):
                await _connect(reader, writer)
        except RefusedError as refused:
            writer.write(_reply(refused.code))
            await writer.drain()
    writer.close()


async def _authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str) -> bool:
    version, count = await reader.readexactly(2)
    methods = await reader.readexactly(count)
    if version != VERSION or METHOD_PASSWORD not in methods:
        writer.write(bytes([VERSION, METHOD_NONE]))
        return False
    writer.write(bytes([VERSION, METHOD_PASSWORD]))
    _, length = await reader.readexactly(2)
    name = await reader.readexactly(length)
    given = await reader.readexactly((await reader.readexactly(1))[0])
    good = hmac.compare_digest(given, password.encode()) and name == USER.encode()
    writer.write(bytes([AUTH_VERSION, 0 if good else 1]))
    await writer.drain()
    return good


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _, command, _, kind = await asyncio.wait_for(reader.readexactly(4), HANDSHAKE_TIMEOUT)
    host = await _host(reader, kind)
    (port,) = struct.unpack(">H", await reader.readexactly(2))
    if command != CONNECT:
        raise RefusedError(NOT_SUPPORTED)
    try:
        inner_reader, inner_writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_TIMEOUT)
    except ConnectionRefusedError:
        raise RefusedError(REFUSED) from None
    except (OSError, asyncio.TimeoutError):
        raise RefusedError(UNREACHABLE) from None
    writer.write(_reply(GRANTED))
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
    inner_writer.close()


async def _host(reader: asyncio.StreamReader, kind: int) -> str:
    if kind == DOMAIN:
        return (await reader.readexactly((await reader.readexactly(1))[0])).decode("idna")
    if kind in (IPV4, IPV6):
        return str(ipaddress.ip_address(await reader.readexactly(4 if kind == IPV4 else 16)))
    raise RefusedError(8)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the sender ends, then end our sending: the other direction goes on."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _reply(code: int) -> bytes:
    return bytes([VERSION, code, 0, IPV4]) + bytes(6)
