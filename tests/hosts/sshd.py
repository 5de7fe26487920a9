"""Test hosts with a real sshd: network namespaces on a bridge, each with its host keys, its /tmp, its /var/tmp.

Needs root. The hosts share this machine's kernel, users and programs, and nothing of the network.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "sh"
BRIDGE = "br-sh"
NETWORK = "10.74.0"
USER = "hpcsh"
UID = 2074
SUBIDS = "400000:65536"


def _call(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def make_user() -> None:
    """The unprivileged user of the tests, with subordinate ids; stays from one run to the next."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(USER)
        return
    _call("useradd", "-m", "-u", str(UID), "-s", "/bin/bash", USER)
    _call("usermod", "-p", "*", USER)  # no password, but not locked: sshd refuses a locked user's keys
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        if f"{USER}:" not in file.read_text():
            with file.open("a") as out:
                out.write(f"{USER}:{SUBIDS}\n")


@dataclass
class SshHost:
    """One test host: `address` is where its sshd listens (port 22), `directory` holds keys, config and log."""

    index: int
    directory: Path
    extra: dict[str, str] = field(default_factory=dict)
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The host's name, which is its network namespace's too."""
        return f"{PREFIX}{self.index}"

    @property
    def address(self) -> str:
        """Its address on the bridge."""
        return f"{NETWORK}.{10 + self.index}"

    def up(self) -> None:
        """Make the network namespace and start sshd in it."""
        if self.name not in _call("ip", "netns", "list").split():
            veth = f"v-{self.name}"
            self._unplug()
            _call("ip", "netns", "add", self.name)
            _call("ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _call("ip", "link", "set", veth, "master", BRIDGE, "up")
            _call("ip", "-n", self.name, "link", "set", "lo", "up")
            _call("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
            _call("ip", "-n", self.name, "link", "set", "eth0", "up")
            _call("ip", "-n", self.name, "route", "add", "default", "via", f"{NETWORK}.1")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.new_key(replace=False)
        self.start()

    def new_key(self, *, replace: bool = True) -> None:
        """Give the host a host key; an existing one is replaced."""
        path = self.directory / "host_key"
        if path.exists() and not replace:
            return
        path.unlink(missing_ok=True)
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))

    def public_key(self) -> str:
        """Type and blob, as known_hosts has them."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def start(self, **settings: str) -> None:
        """Start sshd, with further settings of sshd_config."""
        self.stop()
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        base = {
            "ListenAddress": self.address,
            "HostKey": str(self.directory / "host_key"),
            "PidFile": "none",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "AuthorizedKeysFile": str(self.directory.parent / "authorized_keys"),
            "StrictModes": "no",
            "PrintMotd": "no",
            "Subsystem": "sftp internal-sftp",
        }
        base.update(settings)
        config = self.directory / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in base.items() if value))
        # Its own mounts and host name: each host has a /tmp and a /var/tmp that the others do not see.
        for place in ("tmp", "vartmp"):
            (self.directory / place).mkdir(exist_ok=True)
            (self.directory / place).chmod(0o1777)
        setup = (
            f"hostname {self.name}; mount --bind {self.directory}/tmp /tmp; "
            f"mount --bind {self.directory}/vartmp /var/tmp; exec /usr/sbin/sshd -D -e -f {config}"
        )
        log = (self.directory / "sshd.log").open("ab")
        self.daemon = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--uts", "sh", "-c", setup],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        ends = time.monotonic() + 5
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, 22), 1) as sock:
                sock.recv(3)
                return
            if time.monotonic() > ends or self.daemon.poll() is not None:
                raise RuntimeError((self.directory / "sshd.log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """End sshd and all its connections, as a power failure would; what the user has started lives on."""
        if self.daemon is not None:
            for pid in _descendants(self.daemon.pid):
                if "sshd" in _name(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.daemon.wait()
            self.daemon = None

    def link(self, state: str) -> None:
        """``down``: nothing reaches the host any more, and nothing says so; ``up``: back again."""
        _call("ip", "link", "set", f"v-{self.name}", state)

    def remove(self) -> None:
        """Take the host away, with whatever still runs there."""
        self.stop()
        for pid in _call("ip", "netns", "pids", self.name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self._unplug()
        _call("ip", "netns", "del", self.name)

    def _unplug(self) -> None:
        # A namespace goes away when its last process has; its cable must not wait for that.
        with contextlib.suppress(subprocess.CalledProcessError):
            _call("ip", "link", "del", f"v-{self.name}")


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for at in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{at}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
    return found


@contextlib.contextmanager
def ssh_hosts(count: int, directory: Path) -> Iterator[list[SshHost]]:
    """`count` hosts that let `USER` in with the key ``directory/id``, all in ``directory/known_hosts``.

    `directory` must not be below /tmp, which the hosts cover with their own.
    """
    make_user()
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    if BRIDGE not in _call("ip", "-o", "link"):
        _call("ip", "link", "add", BRIDGE, "type", "bridge")
        _call("ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        _call("ip", "link", "set", BRIDGE, "up")
    key = directory / "id"
    if not key.exists():
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    shutil.copy(directory / "id.pub", directory / "authorized_keys")
    hosts = [SshHost(index, directory / f"{PREFIX}{index}") for index in range(count)]
    try:
        for host in hosts:
            host.up()
        write_client_files(directory, hosts)
        yield hosts
    finally:
        for host in hosts:
            with contextlib.suppress(subprocess.CalledProcessError):
                host.remove()
        with contextlib.suppress(subprocess.CalledProcessError):
            _call("ip", "link", "del", BRIDGE)


def write_client_files(directory: Path, hosts: list[SshHost]) -> Path:
    """``known_hosts`` and ``config`` for the client; return the path of the latter."""
    known = directory / "known_hosts"
    known.write_text("".join(f"{host.address} {host.public_key()}\n" for host in hosts))
    config = directory / "config"
    lines = [f"Host {PREFIX}*", f"  User {USER}", f"  IdentityFile {directory}/id", "  IdentitiesOnly yes"]
    lines += ["  ConnectTimeout 5", f"  UserKnownHostsFile {known}", "  GlobalKnownHostsFile none"]
    for host in hosts:
        lines += [f"Host {host.name}", f"  HostName {host.address}"]
    config.write_text("\n".join(lines) + "\n")
    return config
