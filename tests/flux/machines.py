"""Virtual machines for the Flux tests: a network, host name, /tmp, /var/tmp and home of their own, and one broker each.

A machine is a sleeping process in its own network, UTS and mount namespace; everything else enters it. Making them
needs root, what runs in them is the unprivileged test user.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

USER = "hpcfl"
UID = 2073
SUBIDS = "300000:65536"
BRIDGE = "br-fl"
NETWORK = "10.73.0"
LOGIN = "fllogin"


@dataclass(frozen=True)
class Machine:
    """A virtual machine: `holder` is the process that holds its namespaces."""

    name: str
    address: str
    holder: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id of the holder."""
        return self.holder.pid

    def enter(self, argv: Sequence[str], *, user: bool = True, cwd: str = "/") -> list[str]:
        """The command line that runs `argv` in this machine, as the test user or as root."""
        drop = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups"] if user else []
        return ["nsenter", f"--target={self.pid}", "--net", "--uts", "--mount", f"--wdns={cwd}", *drop, *argv]


def make_user() -> None:
    """Make the test user with its subordinate ids, where it is not there yet."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "-m", "-u", str(UID), "-s", "/bin/bash", USER], check=True)
    for name in ("/etc/subuid", "/etc/subgid"):
        path = Path(name)
        lines = path.read_text().splitlines() if path.exists() else []
        if not any(line.startswith(f"{USER}:") for line in lines):
            path.write_text("\n".join([*lines, f"{USER}:{SUBIDS}"]) + "\n")
    for device in ("/dev/net/tun", "/dev/fuse"):
        if Path(device).exists():
            Path(device).chmod(0o666)


def make_network(names: Sequence[str]) -> None:
    """Make the bridge and one network namespace a name, each with ``eth0``."""
    remove_network(names)
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for index, name in enumerate(names):
        _ip("netns", "add", name)
        _ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"v{name}", "master", BRIDGE, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{NETWORK}.{10 + index}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "via", f"{NETWORK}.1")
        for setting in ("net.ipv4.ping_group_range=0 2147483647", "net.ipv4.ip_unprivileged_port_start=0"):
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", setting], check=True)


def remove_network(names: Sequence[str]) -> None:
    """Remove what `make_network` made; nothing there is fine."""
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"v{name}"], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)


def make_machine(root: Path, name: str, index: int, *, own_home: bool) -> Machine:
    """Start the machine `name` in its network namespace, with directories of its own under `root`."""
    home = pwd.getpwnam(USER).pw_dir
    binds = []
    for own, place in (("tmp", "/tmp"), ("var-tmp", "/var/tmp"), ("home", home)):
        folder = root / name / own
        if place == home and not own_home:
            folder = root / "home"
        folder.mkdir(parents=True, exist_ok=True)
        if place == home:
            os.chown(folder, UID, UID)
            folder.chmod(0o700)
        else:
            folder.chmod(0o1777)
        binds.append(f"mount --bind {shlex.quote(str(folder))} {place}")
    ready = root / name / "ready"
    script = "\n".join(
        [
            "set -e",
            *binds,
            f"mount --bind {shlex.quote(str(root / 'hosts'))} /etc/hosts",
            f"hostname {name}",
            f"touch {shlex.quote(str(ready))}",
            "exec sleep infinity",
        ]
    )
    argv = ["ip", "netns", "exec", name, "unshare", "--mount", "--uts", "--propagation", "slave", "sh", "-c", script]
    # ip, unshare and sh replace themselves, so the pid we started is the pid of `sleep`.
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    wait_until(ready.exists, f"machine {name}")
    return Machine(name, f"{NETWORK}.{10 + index}", process)


def start_sshd(machine: Machine, root: Path) -> subprocess.Popen[bytes]:
    """Run an SSH server in the machine that lets the test user in by the key ``root/key``."""
    key, host_key, config = root / "key", root / "host-key", root / machine.name / "sshd_config"
    for path, owner in ((key, UID), (host_key, 0)):
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
            os.chown(path, owner, owner)
    authorized = root / "authorized_keys"
    shutil.copy(f"{key}.pub", authorized)
    config.write_text(
        f"Port 22\nListenAddress {machine.address}\nHostKey {host_key}\nAuthorizedKeysFile {authorized}\n"
        "StrictModes no\nPasswordAuthentication no\nUsePAM no\nPidFile none\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    return subprocess.Popen(
        machine.enter(["/usr/sbin/sshd", "-D", "-f", str(config)], user=False), stderr=subprocess.DEVNULL
    )


def wait_until(condition, what: str, seconds: float = 20) -> None:  # type: ignore[no-untyped-def]
    """Wait until `condition()` is true; fail with `what` after `seconds`."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"{what}: not there after {seconds:g} s"
        time.sleep(0.02)


def processes_of(machine: Machine) -> list[tuple[int, str]]:
    """``(pid, command line)`` of the test user's processes in the machine's network or below its node directories."""
    network = _link(machine.pid, "net")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # A node's own namespaces hide the machine's network; its mounts and host name stay the machine's.
            same = _link(int(entry.name), "net") == network or _link(int(entry.name), "uts") == _link(
                machine.pid, "uts"
            )
            if same and entry.stat().st_uid != 0:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(entry.name), command))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _link(pid: int, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
