"""Makes the disks of the virtual machine: a Debian 12 with systemd and cgroup v2, and the bundle of binaries.

Needs root (debootstrap) and the packages debootstrap and e2fsprogs. Packages come from the mirrors that this machine's
own apt uses. Everything lies in one work folder and is made once::

    root/        the unpacked distribution      disk.img    its ext4 file system, never written to (see `machine`)
    lib/         the Python packages we need    bundle.img  the bundle's cache, as one ext4 file system
    key          the SSH key of the machine's users

A machine has the users root, alice (uid 1001: cgroup controllers delegated, lingering, as docs/admin.md prepares),
bob (uid 1002: nothing delegated, as on a host that nobody prepared) and carol (uid 1003: the same, for batch jobs).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

RELEASE = "bookworm"
PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "uidmap",
    "slirp4netns",
    "passt",
    "nftables",
    "iptables",
    "iproute2",
    "apparmor",
    "openssh-server",
    "python3",
    "util-linux",
    "procps",
    "kmod",
    "ca-certificates",
    "sudo",
    "udev",
    "ifupdown",
    "isc-dhcp-client",
    "passwd",
    "login",
]
CHECKOUT = Path(__file__).resolve().parents[2]
USERS = {"alice": 1001, "bob": 1002, "carol": 1003}
NOT_IN_THE_GUEST = ("ansible-core",)  # only `usernetes prepare` needs it

FILES = {
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 vm\n",
    "etc/fstab": (
        "/dev/vda / ext4 defaults,noatime 0 1\n/dev/vdb /var/lib/usernetes/cache ext4 ro,noatime,nofail 0 0\n"
    ),
    "etc/systemd/network/10-any.network": "[Match]\nName=en*\n[Network]\nDHCP=ipv4\n",
    "etc/resolv.conf": "nameserver 192.168.76.3\n",
    "etc/ssh/sshd_config.d/vm.conf": "UseDNS no\nPermitRootLogin prohibit-password\nMaxStartups 50\n",
    "etc/systemd/system/user@1001.service.d/delegate.conf": "[Service]\nDelegate=cpu cpuset io memory pids\n",
    "var/lib/systemd/linger/alice": "",
    "etc/subuid": "alice:200000:65536\nbob:300000:65536\ncarol:400000:65536\n",
    "etc/subgid": "alice:200000:65536\nbob:300000:65536\ncarol:400000:65536\n",
    "etc/sysctl.d/60-usernetes.conf": "fs.inotify.max_user_instances = 1024\n",
    "etc/profile.d/vm.sh": (
        "export PYTHONPATH=/opt/usernetes/src:/opt/usernetes/lib USERNETES_BUNDLE_CACHE=/var/lib/usernetes/cache\n"
        "export PATH=/var/lib/usernetes/cache/bundles/current/bin:/opt/usernetes/bin:$PATH:/usr/sbin:/sbin\n"
    ),
    "opt/usernetes/bin/usernetes": '#!/bin/sh\nexec python3 -m usernetes_deploy.cli "$@"\n',
}
UNITS_OFF = ("systemd-timesyncd", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_reap", "networking")


def sh(*argv: str | Path, cwd: Path | None = None) -> None:
    """Run a command, with its words on our stderr; raises `CalledProcessError`."""
    subprocess.run([str(word) for word in argv], check=True, cwd=cwd, stdin=subprocess.DEVNULL)


def mirror(folder: Path = Path("/etc/apt")) -> str:
    """The first mirror that this machine's apt has for `RELEASE`; raises `SystemExit` when it has none."""
    for path in [*sorted(folder.glob("sources.list.d/*.sources")), folder / "sources.list"]:
        text = path.read_text() if path.exists() else ""
        for stanza in text.split("\n\n"):
            uri = re.search(r"^URIs:\s*(\S+)", stanza, re.MULTILINE)
            suites = re.search(r"^Suites:(.*)", stanza, re.MULTILINE)
            if uri and suites and RELEASE in suites[1].split():
                return uri[1]
        line = re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{RELEASE}\s", text, re.MULTILINE)
        if line:
            return line[1]
    raise SystemExit(f"the apt configuration of this machine names no mirror of {RELEASE}: pass --mirror URL")


def make_root(work: Path, url: str) -> None:
    """Unpack the distribution, unless it is there."""
    root = work / "root"
    if not (work / "root.done").exists():
        shutil.rmtree(root, ignore_errors=True)
        sh("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, root, url)
        (work / "root.done").touch()
    if not (work / "key").exists():
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "key")


def make_lib(work: Path) -> None:
    """The Python packages of the product, for the guest's Python 3.11."""
    lib = work / "lib"
    if lib.exists():
        return
    wanted = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [one for one in wanted if not one.startswith(NOT_IN_THE_GUEST)]
    platforms = [f"--platform=manylinux{version}_x86_64" for version in ("2014", "_2_28", "_2_34")]
    sh("python3", "-m", "pip", "install", "-q", "--target", lib, "--python-version=3.11", *platforms,
       "--only-binary=:all:", *wanted)  # fmt: skip


def make_disk(work: Path, size: str = "12G") -> None:
    """Configure the unpacked distribution and make its disk, unless it is there."""
    disk, root = work / "disk.img", work / "root"
    if disk.exists():
        return
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text)
    (root / "opt/usernetes/bin/usernetes").chmod(0o755)
    (root / "var/lib/usernetes/cache").mkdir(parents=True, exist_ok=True)
    shutil.copytree(work / "lib", root / "opt/usernetes/lib", dirs_exist_ok=True)
    for name, uid in USERS.items():
        if f"\n{name}:" not in (root / "etc/passwd").read_text():
            sh("chroot", root, "useradd", "--create-home", "--shell=/bin/bash", f"--uid={uid}", name)
        _authorize(root, f"home/{name}", uid, work / "key.pub")
    for name in ("etc/subuid", "etc/subgid"):  # useradd may have added ranges of its own
        (root / name).write_text(FILES[name])
    _authorize(root, "root", 0, work / "key.pub")
    sh("chroot", root, "systemctl", "enable", "systemd-networkd", "ssh")
    sh("chroot", root, "systemctl", "mask", *UNITS_OFF, "serial-getty@ttyS0")
    for kind in ("vmlinuz", "initrd.img"):
        shutil.copy(next((root / "boot").glob(f"{kind}-*")), work / kind)
    draft = work / "disk.new"
    draft.unlink(missing_ok=True)
    sh("mke2fs", "-q", "-t", "ext4", "-d", root, draft, size)
    draft.rename(disk)


def make_bundle(work: Path, cache: Path) -> None:
    """The current bundle of `cache`, when it is another than the one on the disk."""
    current = (cache / "bundles" / "current").resolve()
    note, disk = work / "bundle.name", work / "bundle.img"
    if disk.exists() and note.exists() and note.read_text() == str(current):
        return
    folder = work / "bundleroot"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(current, folder / "bundles" / current.name, symlinks=True)
    (folder / "bundles" / "current").symlink_to(current.name)
    disk.unlink(missing_ok=True)
    sh("mke2fs", "-q", "-t", "ext4", "-d", folder, disk, "2500M")
    shutil.rmtree(folder)
    note.write_text(str(current))


def make(work: Path, cache: Path, url: str | None = None) -> None:
    """All of it; what is there stays."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "root.done").exists():
        url = url or mirror()
    make_root(work, url or "")
    make_lib(work)
    make_disk(work)
    make_bundle(work, cache)


def _authorize(root: Path, home: str, uid: int, key: Path) -> None:
    folder = root / home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "authorized_keys").write_text(key.read_text())
    sh("chown", "-R", f"{uid}:{uid}", folder)
