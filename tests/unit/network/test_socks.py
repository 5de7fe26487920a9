"""The SOCKS proxy against a real client's bytes and a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from usernetes_deploy.network import socks


@pytest.fixture
def proxy() -> Iterator[int]:
    """A proxy on a free port, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    serving: asyncio.Task[None] = loop.create_task(socks.serve(listener, "secret"))

    async def finish() -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.run_until_complete(finish())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield port
    loop.call_soon_threadsafe(serving.cancel)
    thread.join(10)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets, once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]


def login(port: int, password: str, user: str = "usernetes") -> tuple[socket.socket, bytes]:
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.sendall(b"\x05\x02\x00\x02")
    assert client.recv(2) == b"\x05\x02"
    client.sendall(b"\x01" + bytes([len(user)]) + user.encode() + bytes([len(password)]) + password.encode())
    return client, client.recv(2)


def connect(client: socket.socket, address: bytes, port: int, command: int = 1) -> int:
    client.sendall(bytes([5, command, 0]) + address + struct.pack(">H", port))
    return client.recv(10)[1]


NAME = b"\x03\x09localhost"
IPV4 = b"\x01" + bytes([127, 0, 0, 1])


@pytest.mark.parametrize("address", [NAME, IPV4])
def test_what_is_sent_comes_back_through_the_proxy(proxy: int, echo: int, address: bytes) -> None:
    client, granted = login(proxy, "secret")
    with client:
        assert granted == b"\x01\x00"
        assert connect(client, address, echo) == socks.GRANTED
        client.sendall(b"x" * 300_000)
        client.shutdown(socket.SHUT_WR)
        received = 0
        while data := client.recv(65536):
            received += len(data)
        assert received == 300_000


@pytest.mark.parametrize(("password", "user"), [("wrong", "usernetes"), ("secret", "other"), ("", "usernetes")])
def test_a_wrong_password_or_name_ends_the_connection(proxy: int, password: str, user: str) -> None:
    client, answer = login(proxy, password, user)
    with client:
        assert answer == b"\x01\x01"
        assert client.recv(1) == b""


def test_a_client_without_a_password_is_refused(proxy: int) -> None:
    with socket.create_connection(("127.0.0.1", proxy), 10) as client:
        client.sendall(b"\x05\x01\x00")
        assert client.recv(2) == b"\x05\xff"


def test_a_port_where_nobody_listens_is_told(proxy: int) -> None:
    client, _ = login(proxy, "secret")
    with client:
        assert connect(client, IPV4, 1) == socks.REFUSED


def test_anything_but_connect_is_not_supported(proxy: int) -> None:
    client, _ = login(proxy, "secret")
    with client:
        assert connect(client, IPV4, 80, command=2) == socks.NOT_SUPPORTED
