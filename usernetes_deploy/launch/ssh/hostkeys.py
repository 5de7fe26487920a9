"""Is this the host it says it is? Host keys against ``known_hosts``: known, new, changed, revoked.

Own matching instead of paramiko's, which has neither wildcards (``node*``) nor ``@revoked``.
"""

from __future__ import annotations

import base64
import fcntl
import fnmatch
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.ssh.config import Route


@dataclass(frozen=True)
class KnownKey:
    """One line of a known_hosts file that speaks of the host."""

    kind: str
    blob: str
    marker: str
    place: str


def known_keys(name: str, files: Iterable[Path]) -> list[KnownKey]:
    """What `files` say of the host `name` (``host`` or ``[host]:port``); files that are not there say nothing."""
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            marker = fields.pop(0) if fields[0].startswith("@") else ""
            if len(fields) >= 3 and _matches(name, fields[0]):
                found.append(KnownKey(fields[1], fields[2], marker, f"{path}:{number}"))
    return found


def preferred_key_types(known: Sequence[KnownKey], offered: Sequence[str]) -> list[str]:
    """`offered` with the types first of which a key is known: a host with three keys then shows the known one."""
    kinds = {key.kind for key in known if not key.marker}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
    return sorted(offered, key=lambda kind: kind not in kinds)


def check_host_key(route: Route, known: Sequence[KnownKey], key: paramiko.PKey, *, accept_new: bool, node: str) -> None:
    """Return if `key` is the host's; with `accept_new` a key never seen is written down. Else raise `UsernetesError`.

    A key that changed, or one that was revoked, is refused whatever `accept_new` says.
    """
    blob = base64.b64encode(key.asbytes()).decode()
    shown = f"{key.get_name()} {key.fingerprint}"
    for entry in known:
        if entry.marker == "@revoked" and entry.blob == blob:
            raise UsernetesError(f"its host key {shown} was revoked in {entry.place}", node=node, tried="host key")
    own = [entry for entry in known if not entry.marker]
    if any(entry.blob == blob for entry in own):
        return
    if own:
        places = ", ".join(dict.fromkeys(entry.place for entry in own))
        raise UsernetesError(
            f"the host key changed: it now shows {shown}, not the one in {places}; "
            "somebody may be listening, or the host was installed anew",
            node=node,
            tried="host key",
            remedy=f"if you know why: ssh-keygen -R '{route.host_key_name}' -f {own[0].place.rpartition(':')[0]}",
        )
    if not accept_new:
        raise UsernetesError(
            f"its host key is not known: {shown}",
            node=node,
            tried="host key",
            remedy=f"compare it and connect once with: ssh {route.destination}, or trust new hosts with --accept-new",
        )
    _remember(route, key.get_name(), blob, node)


def _remember(route: Route, kind: str, blob: str, node: str) -> None:
    if not route.known_hosts:
        return
    path = route.known_hosts[0]
    name = paramiko.HostKeys.hash_host(route.host_key_name) if route.hash_known_hosts else route.host_key_name
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            if path.is_file():
                fcntl.flock(file, fcntl.LOCK_EX)
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                if file.read(1) not in (b"", b"\n"):
                    file.write(b"\n")
            file.write(f"{name} {kind} {blob}\n".encode())
    except OSError as error:
        raise UsernetesError(f"{path}: {error.strerror}", node=node, tried="write the new host key") from error


def _matches(name: str, patterns: str) -> bool:
    if patterns.startswith("|1|"):
        try:
            return bool(paramiko.HostKeys.hash_host(name, patterns) == patterns)
        except (ValueError, AssertionError):  # a damaged line
            return False
    hit = False
    for pattern in patterns.split(","):
        # Only * and ? are special; brackets are part of "[host]:port".
        glob = pattern.lstrip("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), glob):
            if pattern.startswith("!"):
                return False
            hit = True
    return hit
