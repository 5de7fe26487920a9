"""What cannot work is refused with a message, a remedy and an exit code, and nothing is changed."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.hosts.clusters import UP_SECONDS, Account, bring_up, host_address

pytestmark = pytest.mark.cluster
NOTHING: dict[str, object] = {"processes": {}, "mounts": [], "sockets": [], "interfaces": [], "files": []}


def changed(account: Account) -> dict[str, object]:
    found = account.leftovers()
    found["states"] = [name for name in found["states"] if not name.startswith(".")]
    return found


@pytest.fixture(autouse=True)
def unchanged(stranger: Account) -> Iterator[None]:
    """Nothing before, nothing after: no process, mount, socket, file, and no state."""
    shutil.rmtree(stranger.state, ignore_errors=True)
    yield
    assert changed(stranger) == {**NOTHING, "states": []}


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def in_mounts(account: Account, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``usernetes WORDS`` in a mount namespace of its own, where root has run `script` before."""
    command = " ".join(shlex.quote(word) for word in account.argv(*words))
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", f"set -e\n{script}\nexec {command}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=UP_SECONDS, cwd="/", check=False)


def test_an_existing_cluster_is_not_touched(stranger: Account) -> None:
    cluster = bring_up(stranger, "there", "--durability", "memory")
    before = cluster.record()
    refused(stranger.usernetes("up", "--cluster", "there"), 2, "a cluster named there exists", "usernetes down")
    assert cluster.record() == before
    assert cluster.status()["nodes"][0]["alive"]
    assert cluster.usernetes("down").returncode == 0


def test_a_missing_bundle_says_how_to_make_one(stranger: Account) -> None:
    empty = {"XDG_CACHE_HOME": str(stranger.home / "empty")}
    refused(stranger.usernetes("up", env=empty), 1, "usernetes bundle build")
    refused(stranger.usernetes("up", "--bundle", "/no/such"), 1, "/no/such")
    refused(stranger.usernetes("up", "--bundle", "0123abcd"), 1, "digest that begins 0123abcd")


def test_a_damaged_binary_is_found_before_anything_starts(stranger: Account) -> None:
    copy = stranger.home / "bundle"
    shutil.copytree(stranger.bundle, copy, symlinks=True, copy_function=os.link)
    binary = copy / "bin" / "kube-scheduler"
    data = bytearray(binary.read_bytes())
    data[len(data) // 2] ^= 1
    binary.unlink()
    binary.write_bytes(data)
    binary.chmod(0o755)
    subprocess.run(["chown", "-R", f"{stranger.uid}:{stranger.uid}", str(copy)], check=True)
    try:
        refused(stranger.usernetes("up", "--bundle", str(copy)), 1, "bin/kube-scheduler")
    finally:
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("lines", "said"), [([], "no subordinate"), (["{name}:900000:1000"], "1000")], ids=["none", "small"]
)
def test_too_few_subordinate_ids_are_exit_code_3(stranger: Account, lines: Sequence[str], said: str) -> None:
    script = []
    for table in ("subuid", "subgid"):
        kept = [
            line for line in Path("/etc", table).read_text().splitlines() if not line.startswith(stranger.name + ":")
        ]
        file = stranger.home / table
        file.write_text("".join(f"{line}\n" for line in [*kept, *(line.format(name=stranger.name) for line in lines)]))
        script.append(f"mount --bind {file} /etc/{table}")
    refused(in_mounts(stranger, "\n".join(script), "up"), 3, "subordinate", said, "fix: ", "subid")


def test_no_newuidmap_is_exit_code_3(stranger: Account) -> None:
    tool = Path(shutil.which("newuidmap") or "/usr/bin/newuidmap").resolve()
    hidden = (
        f"touch {stranger.home}/hidden; chmod 644 {stranger.home}/hidden; mount --bind {stranger.home}/hidden {tool}"
    )
    refused(in_mounts(stranger, hidden, "up"), 3, "newuidmap", "fix: ")


def test_no_tun_device_is_exit_code_3(stranger: Account) -> None:
    refused(in_mounts(stranger, "mount -t tmpfs none /dev/net", "up"), 3, "/dev/net/tun", "fix: ")


def test_a_port_that_is_taken_is_named(stranger: Account) -> None:
    with socket.socket() as taken:
        taken.bind((host_address(), 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        done = stranger.usernetes("up", "--set", f"apiPort={port}")
    refused(done, 3, f"TCP port {port} is in use", "choose another apiPort")


def test_a_full_disk_is_said_and_cleaned_up(stranger: Account) -> None:
    disk = stranger.home / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=2m,mode=1777 none {disk}"
    done = in_mounts(stranger, script, "up", "--set", f"storage.nodeDirectory={disk}", "--set", "waitSeconds=30")
    refused(done, 3, f"{disk} has 2 MiB free, 2.0 GiB are needed", "fix: ")


def test_a_state_directory_that_cannot_be_written_is_named(stranger: Account) -> None:
    closed = stranger.home / "closed"
    closed.mkdir(mode=0o555)
    env = {"XDG_STATE_HOME": str(closed)}
    done = stranger.usernetes("up", env=env)
    refused(done, 1, str(closed), "Permission denied", "XDG_STATE_HOME")


def test_a_read_only_home_is_named(stranger: Account) -> None:
    script = f"mount --bind {stranger.home} {stranger.home} && mount -o remount,ro,bind {stranger.home}"
    done = in_mounts(stranger, script, "up")
    refused(done, 1, str(stranger.home), "Read-only file system")


def test_a_home_without_overlay_support_does_not_matter(stranger: Account) -> None:
    # Nodes live on node-local disk: a home on ramfs (no extended attributes) holds no more than the state.
    home = stranger.home / "other"
    home.mkdir()
    script = f"mount -t ramfs none {home} && chown {stranger.uid} {home}\n"
    user = pwd.getpwuid(stranger.uid).pw_name
    up = stranger.argv("up", "--durability", "memory", "--quiet", env={"HOME": str(home), "USER": user})
    bundle = ["env", f"USERNETES_BUNDLE_CACHE={stranger.home}/.cache/usernetes"]
    words = [[*command[: command.index(stranger.python)], *bundle, *command[command.index(stranger.python) :]]
             for command in (up, stranger.argv("status", "--json", env={"HOME": str(home)}),
                             stranger.argv("down", env={"HOME": str(home)}))]  # fmt: skip
    script += " && ".join(shlex.join(command) for command in words)
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=UP_SECONDS, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert f'"directory": "{stranger.base}/' in done.stdout
