"""How a running node is talked to: one JSON request a connection, on sockets in the node's folder (0600 in 0700).

Its supervisor answers at `SUPERVISOR`; its keeper, which starts the node again when it dies, at `KEEPER`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from usernetes_deploy import threads
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.threads import Begin

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
SUPERVISOR, KEEPER = "control.sock", "keeper.sock"
SLOW = 5.0  # seconds for a request to come, where one has to wait for the other
Handler = Callable[[Mapping[str, Any]], Any]


def serve(path: Path, handlers: Mapping[str, Handler], begin: Begin = threads.begin) -> None:
    """Answer requests ``{"verb": ...}`` in the background with ``{"ok": ...}`` or ``{"error": ...}``."""
    listener = _listen(path)

    def loop() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, handlers), daemon=True).start()

    begin("control", loop)


@contextlib.contextmanager
def serving(path: Path, handlers: Mapping[str, Handler]) -> Iterator[None]:
    """Answer requests for the length of the block, one after the other; after it no thread of this runs any more."""
    listener = _listen(path)
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if not ended.is_set():
                    print(f"{path.name}: {error.strerror}; again in 1 s", file=sys.stderr, flush=True)
                    ended.wait(1)
                continue
            connection.settimeout(SLOW)
            _answer(connection, handlers)

    thread = threading.Thread(target=loop, name=path.name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        thread.join(SLOW + 1)
        listener.close()
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    # Bound under another name and moved when it listens: who sees the socket is answered, never refused.
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.fchmod(listener.fileno(), 0o600)
    listener.bind(str(draft))
    listener.listen(16)
    draft.replace(path)
    return listener


def _answer(connection: socket.socket, handlers: Mapping[str, Handler]) -> None:
    # A caller that hangs up early gets no answer: it is told when the stream is closed at the latest.
    with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
        try:
            line = stream.readline()  # whoever it is: a refusal before would cut the caller off
            if _uid_of(connection) != os.getuid():
                raise UsernetesError("another user's process may not ask this node")
            request = json.loads(line)
            reply: dict[str, Any] = {"ok": handlers[request["verb"]](request)}
        except Exception as error:  # whatever it is, the caller has to know
            reply = {"error": str(error) or type(error).__name__}
        stream.write(json.dumps(reply, default=str).encode() + b"\n")


def _uid_of(connection: socket.socket) -> int:
    """Whose process is at the other end, as this user namespace numbers users."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def ask(path: Path, request: Mapping[str, Any], timeout: float = 10.0) -> Any:
    """Send one request to a node; raises `UsernetesError` when nobody answers, or with what went wrong there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                reply = json.loads(stream.readline() or b'{"error": "the node hung up"}')
    except (OSError, ValueError) as error:
        raise UsernetesError(str(error), tried=f"ask the node at {path}") from error
    if "error" in reply:
        raise UsernetesError(str(reply["error"]), tried=str(request["verb"]))
    return reply["ok"]


def in_netns(netns: Path, call: Callable[[], T]) -> T:
    """Run `call` in a thread of its own that enters `netns` and ends there: there is no way back for it."""
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if LIBC.setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(netns))
            finally:
                os.close(descriptor)
            result.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def dns_answer(server: str, name: str, timeout: float = 2.0) -> dict[str, Any]:
    """Ask `server` for the address of `name` over UDP; how long it took in ms, or why it failed."""
    query = struct.pack(">HHHHHH", 0x5553, 0x0100, 1, 0, 0, 0)
    query += b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split(".")) + b"\0"
    query += struct.pack(">HH", 1, 1)
    began = time.perf_counter()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(timeout)
            connection.sendto(query, (server, 53))
            reply = connection.recv(4096)
    except OSError as error:
        return {"ok": False, "ms": None, "error": f"{server}: {error}"}
    took = round((time.perf_counter() - began) * 1000, 2)
    code, answers = reply[3] & 15, int.from_bytes(reply[6:8], "big")
    if code or not answers:
        return {"ok": False, "ms": took, "error": f"{server}: code {code} with {answers} answers for {name}"}
    return {"ok": True, "ms": took, "error": None}
