"""Virtual hosts for tests: made by the product's own `testhosts`, removed at the end.

Needs root (skipped without). Each test session may have its own set: USERNETES_TESTHOSTS is "PREFIX SUBNET USER",
for instance "ci 10.72.0.0/24 hpcci"; the user is made when there is none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts.clusters import account, cluster, registry, stranger  # noqa: F401  fixtures of this folder
from tests.users import make_user

ROOT = Path(__file__).parents[2]
FILES = ROOT / "playbooks" / "roles" / "testhosts" / "files"


@dataclass(frozen=True)
class VirtualHosts:
    """A set of virtual hosts, and the ways to use it."""

    prefix: str
    subnet: str
    user: str
    count: int

    @property
    def names(self) -> list[str]:
        """th0, th1 ..."""
        return [f"{self.prefix}{i}" for i in range(self.count)]

    @property
    def state(self) -> Path:
        """The folder with ssh_config, known_hosts, inventory.yml and keys."""
        return Path("/var/lib/usernetes-testhosts", self.prefix)

    @property
    def inventory(self) -> Path:
        """An Ansible inventory, as root."""
        return self.state / "inventory.yml"

    def address(self, name: str) -> str:
        """The IP address of a host."""
        return f"{self.subnet.rpartition('.')[0]}.{10 + int(name.removeprefix(self.prefix))}"

    def call(self, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`testhosts VERB`: up, down, list, cut HOST, mend HOST, kill HOST."""
        argv = [sys.executable, str(FILES / "testhosts"), "--prefix", self.prefix, "--subnet", self.subnet]
        argv += ["--user", self.user, "--count", str(self.count), verb, *words]
        return subprocess.run(argv, text=True, capture_output=True, check=check, timeout=120)

    def argv_on(self, name: str, *argv: str, user: str = "root") -> list[str]:
        """The argv that runs `argv` on a host, for `subprocess`; it execs, so that the pid is the command's own."""
        return [str(FILES / "on-host"), name, "--user", user, "--", *argv]

    def on(self, name: str, script: str, user: str = "root", check: bool = True) -> str:
        """What a shell script prints on a host."""
        argv = self.argv_on(name, "sh", "-c", script, user=user)
        done = subprocess.run(argv, text=True, capture_output=True, check=False, timeout=120)
        assert not check or done.returncode == 0, f"{name}: {script}: {done.stdout}{done.stderr}"
        return done.stdout


def need_root() -> None:
    """Skip the test unless it runs as root."""
    if os.geteuid() != 0:
        pytest.skip("virtual hosts need root")


@pytest.fixture(scope="session")
def virtual_hosts() -> Iterator[VirtualHosts]:
    """Two virtual hosts with an unprivileged user, for the whole session."""
    need_root()
    prefix, subnet, user = os.environ.get("USERNETES_TESTHOSTS", "th 10.79.0.0/24 hpcth").split()
    hosts = VirtualHosts(prefix, subnet, user, 2)
    make_user(hosts.user)
    hosts.call("down")
    hosts.call("up")
    yield hosts
    hosts.call("down")


from tests.hosts.meshed import meshed  # noqa: E402, F401  it needs what stands above
