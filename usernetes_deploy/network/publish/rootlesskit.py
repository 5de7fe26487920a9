"""The ports that rootlesskit publishes from the host's network into the node's, through its API socket."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, NamedTuple, Protocol

from usernetes_deploy.errors import UsernetesError

PRIVILEGED, TAKEN, FAILED = "PortPrivileged", "PortTaken", "PortFailed"


class Forward(NamedTuple):
    """One published port: `protocol` is tcp or udp; the child's side is an address in the node's network."""

    protocol: str
    port: int
    child_ip: str
    child_port: int
    parent_ip: str = "0.0.0.0"  # noqa: S104  all addresses of the host: that is what publishing means


class PortError(UsernetesError):
    """A port cannot be published; `kind` is PRIVILEGED, TAKEN or FAILED."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Ports(Protocol):
    """What publishes ports: rootlesskit, or a fake in tests."""

    def add(self, forward: Forward) -> int:
        """Publish, and return the handle for `remove`. Raises `PortError`."""

    def remove(self, handle: int) -> None:
        """Take back."""


class RootlesskitPorts:
    """The port API of a running rootlesskit (``$ROOTLESSKIT_STATE_DIR/api.sock``).

    >>> ports = RootlesskitPorts("/path/rk/api.sock")                        # doctest: +SKIP
    >>> ports.add(Forward("tcp", 30800, "10.64.0.1", 30800))                 # doctest: +SKIP
    2
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, forward: Forward) -> int:
        """Publish one port on the host."""
        body = {
            "proto": forward.protocol,
            "parentIP": forward.parent_ip,
            "parentPort": forward.port,
            "childIP": forward.child_ip,
            "childPort": forward.child_port,
        }
        status, answer = self._request("POST", "/v1/ports", body)
        if status >= http.client.BAD_REQUEST:
            reason = str(answer.get("message", answer)) if isinstance(answer, dict) else str(answer)
            raise PortError(reason.strip(), kind_of(reason))
        return int(answer["id"])

    def remove(self, handle: int) -> None:
        """Take one port back; it is no error when it is not there."""
        self._request("DELETE", f"/v1/ports/{handle}")

    def published(self) -> list[Any]:
        """Return what is published now, also by others."""
        return list(self._request("GET", "/v1/ports")[1] or [])

    def _request(self, method: str, path: str, body: Any | None = None) -> Any:
        connection = _UnixConnection(self.path)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise PortError(f"rootlesskit does not answer: {error}", FAILED) from error
        finally:
            connection.close()
        try:
            return response.status, json.loads(text) if text.strip() else None
        except ValueError:
            return response.status, text


def kind_of(reason: str) -> str:
    """Tell from rootlesskit's words why a port cannot be published.

    >>> kind_of("listen tcp 0.0.0.0:8080: bind: address already in use")
    'PortTaken'
    """
    words = reason.lower()
    if "privileged port" in words or "permission denied" in words:
        return PRIVILEGED
    if "address already in use" in words or "conflict" in words:
        return TAKEN
    return FAILED


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("rootlesskit", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self._path)
