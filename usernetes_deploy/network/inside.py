"""Puts a process of the host into the cluster's network: same user, files and CPUs; the cluster's addresses and DNS.

The process stays in the host's PID namespace and in the caller's own view of the file system, except for
``/etc/resolv.conf``. It enters the node's user namespace (for the right to do the rest), then its network namespace,
and then takes its own user number again in a user namespace of its own, without any capability.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network import socks

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
RESOLVER = Path("/etc/resolv.conf")


def become(directory: Path, command: Sequence[str], resolver: str) -> None:
    """Replace this process by `command` inside the network of the node in `directory`; returns only by raising."""
    enter(directory, resolver)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=command[0]) from error


def serve_socks(directory: Path, resolver: str, password: str) -> None:
    """Be a proxy from the host's loopback into the network of a node, until interrupted; prints its URL first."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    enter(directory, resolver)
    print(f"socks5h://{socks.USER}:{password}@127.0.0.1:{listener.getsockname()[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(socks.serve(listener, password))


def enter(directory: Path, resolver: str) -> None:
    """Move this process into the network of the node in `directory`; there is no way back.

    `resolver` is the text of the resolv.conf that it then sees. The calling process must have one thread.
    """
    user, network = _namespaces(directory)
    uid, gid = os.getuid(), os.getgid()
    _call("setns", user, CLONE_NEWUSER)
    _call("setns", network, CLONE_NEWNET)
    _call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{gid} 0 1")
    _show_resolver(resolver)
    os.environ["USERNETES_NODE"] = directory.name


def resolver_text(dns_ip: str, domain: str, namespace: str = "default") -> str:
    """Return a resolv.conf like a pod's.

    >>> print(resolver_text("10.96.0.10", "cluster.local"), end="")
    nameserver 10.96.0.10
    search default.svc.cluster.local svc.cluster.local cluster.local
    options ndots:5
    """
    return f"nameserver {dns_ip}\nsearch {namespace}.svc.{domain} svc.{domain} {domain}\noptions ndots:5\n"


def node_namespaces(directory: Path) -> tuple[Path, Path]:
    """Return the paths of a node's user namespace and of its (detached) network namespace."""
    state = directory / "rk"
    try:
        child = int((state / "child_pid").read_text())
    except (OSError, ValueError) as error:
        raise UsernetesError(f"no node is running in {directory}", remedy="usernetes status") from error
    return Path(f"/proc/{child}/ns/user"), Path(f"/proc/{child}/root{state / 'netns'}")


def _namespaces(directory: Path) -> tuple[int, int]:
    """Open both namespaces, before we enter either of them."""
    try:
        user, network = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in node_namespaces(directory))
    except OSError as error:
        raise UsernetesError(
            f"{error.filename}: {error.strerror}", tried=f"enter the node in {directory}", remedy="usernetes status"
        ) from error
    return user, network


def _show_resolver(text: str) -> None:
    target = RESOLVER.resolve()
    if not target.exists():
        raise UsernetesError(f"{RESOLVER} does not exist on this host", remedy="ask for an empty one: touch it as root")
    _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    with tempfile.NamedTemporaryFile("w", prefix="usernetes-resolv.") as file:
        file.write(text)
        file.flush()
        Path(file.name).chmod(0o644)
        # The mount keeps the file after its name is gone.
        _call("mount", file.name.encode(), bytes(target), None, MS_BIND, None)


def _call(name: str, *arguments: int | bytes | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise UsernetesError(reason, tried=f"{name} to enter the cluster's network")
