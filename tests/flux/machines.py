"""Test hosts for the Flux tests (made by the playbooks' `testhosts`), and what is asked of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.users import subordinate, user_id

TOOLS = Path(__file__).resolve().parents[2] / "playbooks/roles/testhosts/files"
PREFIX = "fl"
SUBNET = "10.73.0"
USER = "hpcfl"
UID = user_id(USER)


def testhosts(*arguments: str) -> None:
    """Run the tool that makes and removes the hosts, e.g. ``testhosts("cut", "fl1")``."""
    identity = ["--prefix", PREFIX, "--subnet", f"{SUBNET}.0/24", "--user", USER]
    done = subprocess.run(
        [TOOLS / "testhosts", *identity, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def on_host(host: str, argv: Sequence[str], *, cwd: str = "/", env: Mapping[str, str] | None = None) -> list[str]:
    """The command line that runs `argv` on a host as the test user; its pid is that of `argv`."""
    settings = [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
    return [str(TOOLS / "on-host"), host, "--user", USER, "--cwd", cwd, *settings, "--", *argv]


def processes_on(host: str) -> dict[int, str]:
    """The test user's processes on a host, those in namespaces of their own included: pid to command line."""
    uts = Path(f"/run/usernetes-testhosts/{PREFIX}/{host}/uts").stat().st_ino
    theirs = subordinate(USER)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            user = int((entry / "status").read_text().partition("\nUid:\t")[2].split(maxsplit=1)[0])
            # Nodes have subordinate users' processes as well, and stay in the host's UTS namespace.
            if (user == UID or user in theirs) and (entry / "ns/uts").stat().st_ino == uts:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> float:
    """Wait until `condition()` is true and return the seconds it took; fail with `what` after `seconds`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not so after {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - began
