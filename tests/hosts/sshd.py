"""Test hosts with a real sshd, made by the role `testhosts`; and what may happen to a host: new keys, cuts, power cuts.

Needs root. The hosts share this machine's kernel, users and programs, and nothing of the network and the disks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.users import make_user, user_id

ROOT = Path(__file__).parents[2]
FILES = ROOT / "playbooks" / "roles" / "testhosts" / "files"
PREFIX = "sh"
NETWORK = "10.74.0"
USER = "hpcsh"
UID = user_id(USER)
STATE = Path("/var/lib/usernetes-testhosts") / PREFIX


def call(*argv: str | Path) -> str:
    """Run to the end and return stdout; raises when it fails."""
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


def testhosts(*words: str) -> str:
    """One call of the role's program for our set of hosts."""
    return call(FILES / "testhosts", "--prefix", PREFIX, "--subnet", f"{NETWORK}.0/24", "--user", USER, *words)


testhosts.__test__ = False  # type: ignore[attr-defined]


class SshHost:
    """One test host; its sshd listens on port 22 of `address`."""

    def __init__(self, index: int) -> None:
        self.name = f"{PREFIX}{index}"
        self.address = f"{NETWORK}.{10 + index}"
        self.own = STATE / self.name

    def inside(self, *argv: str | Path) -> str:
        """Run a command on the host, as root."""
        return call(FILES / "on-host", self.name, "--", *argv)

    def public_key(self) -> str:
        """Type and blob, as known_hosts has them."""
        return " ".join((self.own / "ssh_host_ed25519_key.pub").read_text().split()[:2])

    def new_key(self) -> None:
        """Give the host another host key, as a new installation does."""
        key = self.own / "ssh_host_ed25519_key"
        key.unlink()
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)

    def start(self, **settings: str) -> None:
        """Start sshd anew, with `settings` before those of its sshd_config."""
        self.stop()
        config = self.own / "sshd_config.test"
        lines = [f"{key} {value}\n" for key, value in {"MaxSessions": "10", **settings}.items()]
        config.write_text("".join(lines) + (self.own / "sshd_config").read_text())
        self.inside("/usr/sbin/sshd", "-f", config, "-E", self.own / "sshd.log")
        ends = time.monotonic() + 5
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, 22), 1) as sock:
                sock.recv(3)
                return
            if time.monotonic() > ends:
                raise RuntimeError((self.own / "sshd.log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """End sshd and all its connections at once; what the user has started lives on."""
        for text in call("ip", "netns", "pids", self.name).split():
            with contextlib.suppress(OSError):
                if "sshd" in Path(f"/proc/{text}/comm").read_text():
                    os.kill(int(text), signal.SIGKILL)

    def link(self, state: str) -> None:
        """``down``: nothing reaches the host any more, and nothing says so; ``up``: back again."""
        testhosts("cut" if state == "down" else "mend", self.name)


@contextlib.contextmanager
def ssh_hosts(count: int) -> Iterator[list[SshHost]]:
    """`count` fresh hosts that let `USER` in with ``STATE/ssh/user_ed25519``; gone afterwards."""
    make_user(USER)
    testhosts("down")
    testhosts("--count", str(count), "up")
    try:
        yield [SshHost(index) for index in range(count)]
    finally:
        testhosts("down")


def client_files(directory: Path, hosts: list[SshHost]) -> Path:
    """``id``, ``known_hosts`` and ``config`` for a client, made anew in `directory`; returns the path of the config."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, suffix in (("id", ""), ("id.pub", ".pub")):
        shutil.copy(STATE / "ssh" / f"user_ed25519{suffix}", directory / name)
    (directory / "id").chmod(0o600)
    known = directory / "known_hosts"
    known.write_text("".join(f"{host.address} {host.public_key()}\n" for host in hosts))
    lines = [f"Host {host.name}\n  HostName {host.address}\n" for host in hosts]
    lines += [f"Host {PREFIX}*\n  User {USER}\n  IdentityFile {directory}/id\n  IdentitiesOnly yes\n"]
    lines += [f"  ConnectTimeout 5\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n"]
    config = directory / "config"
    config.write_text("".join(lines))
    return config
