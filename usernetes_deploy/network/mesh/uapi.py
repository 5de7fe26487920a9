"""A client of WireGuard's cross-platform UAPI, spoken over the mesh helper's control socket."""

from __future__ import annotations

import base64
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from usernetes_deploy.errors import UsernetesError


@dataclass(frozen=True)
class PeerState:
    """What the helper knows of one peer. `handshake` is in seconds since the epoch, 0.0 for never."""

    public_key: str
    endpoint: str
    allowed_ips: tuple[str, ...]
    handshake: float
    received: int
    sent: int


class Control:
    """The control socket of a running helper.

    >>> Control("/run/usernetes/mesh.sock").peers()  # doctest: +SKIP
    [PeerState(public_key='...', endpoint='192.0.2.8:51820', ...)]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)

    def answers(self) -> bool:
        """Tell whether the helper is up."""
        try:
            self._ask("get=1\n\n")
        except (OSError, UsernetesError):
            return False
        return True

    def peers(self) -> list[PeerState]:
        """Return all peers with their counters."""
        return parse_peers(self._ask("get=1\n\n"))

    def set(self, lines: Sequence[str]) -> None:
        """Change the configuration; `lines` as in ``public_key=...``, ``remove=true``."""
        self._ask("set=1\n" + "".join(f"{line}\n" for line in lines) + "\n")

    def _ask(self, request: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            connection.sendall(request.encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                data = connection.recv(1 << 16)
                if not data:
                    raise UsernetesError("the mesh helper closed its control socket", tried=self.path)
                answer += data
        text = answer.decode()
        body, _, code = text.rstrip("\n").rpartition("errno=")
        if code != "0":
            raise UsernetesError(f"the mesh helper refused: errno {code}", tried=self.path)
        return body


def parse_peers(text: str) -> list[PeerState]:
    """Parse the answer to ``get=1``.

    >>> parse_peers("listen_port=5\\n")
    []
    """
    sections: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "public_key":
            sections.append([])
        if sections and key:
            sections[-1].append((key, value))
    return [_peer(section) for section in sections]


def _peer(section: list[tuple[str, str]]) -> PeerState:
    last = dict(section)
    return PeerState(
        public_key=from_hex(last["public_key"]),
        endpoint=last.get("endpoint", ""),
        allowed_ips=tuple(value for key, value in section if key == "allowed_ip"),
        handshake=int(last["last_handshake_time_sec"]) + int(last["last_handshake_time_nsec"]) / 1e9,
        received=int(last["rx_bytes"]),
        sent=int(last["tx_bytes"]),
    )


def to_hex(key: str) -> str:
    """Turn a base64 key into the hexadecimal form of the UAPI."""
    return base64.b64decode(key, validate=True).hex()


def from_hex(key: str) -> str:
    """Turn a hexadecimal key into the base64 form of everything else."""
    return base64.b64encode(bytes.fromhex(key)).decode()
