"""From a route to a connection that is known to be the right host's: sockets, jump hosts, keys, reasons."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko

from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.hostlist import Target, node_name, targets
from usernetes_deploy.launch.ssh.auth import authenticate
from usernetes_deploy.launch.ssh.config import Route, resolve
from usernetes_deploy.launch.ssh.hostkeys import check_host_key, known_keys, preferred_key_types

KEEPALIVE_SECONDS = 10
IDLE_SECONDS = 5.0
# Unanswered for so long, the kernel gives the connection up (instead of after a quarter of an hour).
LOST_AFTER_SECONDS = 20
THREAD_END_SECONDS = 1.0

# Without a handler of its own, Python prints a library's warnings and tracebacks on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


Connected = tuple[paramiko.Transport, "subprocess.Popen[bytes] | None"]


class Connection:
    """A logged-in connection to one host; `transport` is None until `open` and after `close`."""

    def __init__(self, node: str, connect: Callable[[float], Connected]) -> None:
        self.node = node
        self.transport: paramiko.Transport | None = None
        self._connect = connect
        self._proxy: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def open(self, deadline: float) -> paramiko.Transport:
        """The transport, connecting (again) when needed; `deadline` is a `time.monotonic` time."""
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimedOut("still connecting", node=self.node, tried="connect")
        try:
            if self.transport is not None and self.transport.is_active():
                return self.transport
            self._drop()
            self.transport, self._proxy = self._connect(deadline)
            return self.transport
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the connection and the proxy command, if there is one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(OSError, EOFError):
                self.transport.sock.shutdown(socket.SHUT_RDWR)
            # close() does not wait for the thread: one about to poll would then poll the next connection's descriptor.
            self.transport.join(THREAD_END_SECONDS)
            self.transport.close()
            self.transport = None
        if self._proxy is not None:
            end_proxy(self._proxy)
            self._proxy = None


class Connector:
    """Makes connections, and keeps one to each jump host for all that go through it."""

    def __init__(self, config: Path | None = None, *, accept_new: bool = False) -> None:
        self.config = config
        self.accept_new = accept_new
        self._jumps: dict[tuple[str, ...], Connection] = {}
        self._lock = threading.Lock()

    def connection(self, target: Target) -> Connection:
        """A connection to `target`, not yet open."""
        return Connection(target.name, lambda deadline: self.connect(target, deadline))

    def connect(
        self, target: Target, deadline: float, *, via: tuple[str, ...] = (), behind: tuple[str, ...] = ()
    ) -> Connected:
        """A transport that is logged in. `via` comes before the jump hosts of the configuration.

        `behind` are the hosts for which this one is a jump host. Raises `UsernetesError` with a reason and a remedy,
        or `TimedOut` when `deadline` (a `time.monotonic` time) or ConnectTimeout passes.
        """
        route = resolve(target, self.config)
        deadline = min(deadline, time.monotonic() + route.connect_timeout)
        sock, proxy = self._socket(target, route, via or route.proxy_jump, deadline, behind)
        transport = None
        try:
            with reasons(target, route, deadline, through="its ProxyCommand" if proxy else ""):
                transport = paramiko.Transport(sock)
                self._log_in(transport, target, route, deadline)
        except BaseException:
            if transport is not None:
                transport.close()
            sock.close()
            if proxy:
                end_proxy(proxy)
            raise
        return transport, proxy

    def close(self) -> None:
        """Close the connections to jump hosts, the last hop first."""
        with self._lock:
            jumps = sorted(self._jumps.items(), key=lambda item: -len(item[0]))
            self._jumps.clear()
        for _, jump in jumps:
            jump.close()

    def _log_in(self, transport: paramiko.Transport, target: Target, route: Route, deadline: float) -> None:
        known = known_keys(route.host_key_name, route.known_hosts)
        options = transport.get_security_options()
        options.key_types = preferred_key_types(known, options.key_types)
        # One pass for secrecy and integrity: twice the speed of the library's first choice for large files.
        options.ciphers = sorted(options.ciphers, key=lambda cipher: "gcm" not in cipher)
        left = max(0.1, deadline - time.monotonic())
        transport.banner_timeout = left
        transport.auth_timeout = left
        transport.start_client(timeout=left)
        key = transport.get_remote_server_key()
        check_host_key(route, known, key, accept_new=self.accept_new, node=target.name)
        authenticate(transport, route, node=target.name)
        transport.set_keepalive(KEEPALIVE_SECONDS)
        # paramiko's thread looks up ten times a second; a thousand of them at rest would keep half a core busy.
        transport.sock.settimeout(IDLE_SECONDS)

    def _socket(
        self, target: Target, route: Route, hops: tuple[str, ...], deadline: float, behind: tuple[str, ...]
    ) -> tuple[Any, subprocess.Popen[bytes] | None]:
        # "Host *" with a ProxyJump is meant for all but the jump host itself.
        if hops and _hop_target(hops[-1]).address != target.address:
            transport = self._jump(hops, (*behind, target.address)).open(deadline)
            where = f"connect to {route.hostname}:{route.port} through {hops[-1]}"
            with reasons(target, route, deadline, through=hops[-1]):
                left = max(0.1, deadline - time.monotonic())
                try:
                    end = (route.hostname, route.port)
                    return transport.open_channel("direct-tcpip", end, ("127.0.0.1", 0), timeout=left), None
                except paramiko.SSHException as error:
                    if not transport.is_active() or time.monotonic() >= deadline:
                        raise
                    raise UsernetesError(
                        "the jump host cannot reach it", node=target.name, tried=where, remedy="is it up?"
                    ) from error
        if route.proxy_command:
            return _start_proxy(route.proxy_command)
        with reasons(target, route, deadline):
            sock = socket.create_connection((route.hostname, route.port), max(0.1, deadline - time.monotonic()))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_AFTER_SECONDS * 1000)
        return sock, None

    def _jump(self, hops: tuple[str, ...], behind: tuple[str, ...]) -> Connection:
        hop = _hop_target(hops[-1])
        if hop.address in behind:
            raise UsageError(f"the jump hosts go round in a circle: {' > '.join((hop.address, *reversed(behind)))}")
        with self._lock:
            if hops not in self._jumps:
                # The first hop is reached as its own configuration says, a later one through those before it.
                self._jumps[hops] = Connection(
                    hop.name, lambda deadline: self.connect(hop, deadline, via=hops[:-1], behind=behind)
                )
            return self._jumps[hops]


def _hop_target(hop: str) -> Target:
    found = targets([hop.removeprefix("ssh://")])[0]
    return Target(f"jump host {node_name(found.address)}", found.address, found.user, found.port)


@contextmanager
def reasons(target: Target, route: Route, deadline: float, *, through: str = "") -> Iterator[None]:
    """Turn what sockets and paramiko raise into errors that name the host, the reason and the remedy."""
    where = f"connect to {route.hostname}:{route.port}" + (f" through {through}" if through else "")
    try:
        yield
    except UsernetesError:
        raise
    except socket.gaierror as error:
        raise UsernetesError(
            f"the name is not known ({error.strerror})",
            node=target.name,
            tried=where,
            remedy="give its address in the host list, or HostName in ~/.ssh/config",
        ) from error
    except TimeoutError as error:
        raise _too_slow(target, where) from error
    except ConnectionRefusedError as error:
        raise UsernetesError(
            "nothing listens there (ECONNREFUSED)", node=target.name, tried=where, remedy="start sshd, or give its port"
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if time.monotonic() >= deadline or "imeout" in str(error):
            raise _too_slow(target, where) from error
        text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsernetesError(
            text or "the connection was closed while it was made",
            node=target.name,
            tried=where,
            remedy=f"try: ssh {route.destination}",
        ) from error


def _too_slow(target: Target, where: str) -> TimedOut:
    return TimedOut(
        "no answer in time",
        node=target.name,
        tried=where,
        remedy="is it up? else raise ConnectTimeout in ~/.ssh/config",
    )


def _start_proxy(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """ProxyCommand with a socket as its stdin and stdout: no threads, and its end is seen at once."""
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, process


def end_proxy(process: subprocess.Popen[bytes]) -> None:
    """Let a proxy command end by itself for a moment (its socket is closed), then kill it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.2)
        return
    process.kill()
    process.wait()
