"""Put the bundle on every host's own disk, verified; a host that has it already is asked and believed."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

from usernetes_deploy.bundle import Bundle, pack, stage
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.errors import CommandFailed
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.phases.probe_nodes import let_go

TRANSFER_TIMEOUT = 900.0
TRANSFERS = 16  # at once: more would not come sooner, and each would come later
MAKE_FOLDER = 'umask 077; mkdir -p -- "$1"'  # -m would be for the last of them only
_PACKING = threading.Lock()  # hosts are served side by side, from one archive


class StageBundle:
    """Fills ``<base>/bundle/<digest>`` on the hosts; it stays there for the next cluster."""

    title = "stage the bundle"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `NodeFailures` for hosts that cannot hold it."""
        if up.launcher.shares_host:
            stage.check_place(up.bundle.root)
            stage.verify(up.bundle.root)
            return f"{up.bundle.manifest.name} (in place)"
        members = [member.host for member in up.newcomers]
        asked = on_all(members, lambda host: there(up, host), deadline=TRANSFER_TIMEOUT)
        without = [host for host in members if asked.results.get(host.name) is False]
        sent = on_all(without, lambda host: put(up, host), deadline=TRANSFER_TIMEOUT, workers=TRANSFERS)
        let_go(up, {**asked.failures, **sent.failures})
        return f"{up.bundle.manifest.name} " + (f"({len(sent.results)} sent)" if without else "(there already)")

    def undo(self, up: BringUp) -> None:
        """It stays: it belongs to no cluster, and the next one starts faster."""


def staged(up: BringUp, host: Host) -> Path:
    """Where the bundle lies on `host`."""
    if up.launcher.shares_host:
        return up.bundle.root
    return up.members[host.name].at.base / "bundle" / up.bundle.manifest.name


def packed(bundle: Bundle, spare: Path) -> Path:
    """The archive that travels, made once beside the bundle, or in `spare` where that folder is a site's."""
    folders = [bundle.root.parent, spare]
    archives = [folder / f"{bundle.manifest.name}.tar.gz" for folder in folders]
    with _PACKING:
        there = next((archive for archive in archives if archive.exists()), None)
        if there:
            return there
        if not os.access(folders[0], os.W_OK):
            spare.mkdir(mode=0o700, parents=True, exist_ok=True)
        return pack(bundle, archives[0] if os.access(folders[0], os.W_OK) else archives[1])


def there(up: BringUp, host: Host) -> bool:
    """Whether a host has it, or could take it from the same path because the file system is shared; in 0.1 s."""
    program = up.launcher.node_program(host)
    parent = up.members[host.name].at.base / "bundle"
    return any(
        up.launcher.run(host, [*program, "stage", str(source), str(parent)], timeout=TRANSFER_TIMEOUT).returncode == 0
        for source in (parent / up.bundle.manifest.name, up.bundle.root)
    )


def put(up: BringUp, host: Host) -> None:
    """Send it to one host."""
    program = up.launcher.node_program(host)
    parent = up.members[host.name].at.base / "bundle"
    archive = packed(up.bundle, up.state.root / ".archives")
    target = f"{parent}/{archive.name}"
    up.launcher.run(host, ["sh", "-c", MAKE_FOLDER, "sh", str(parent)]).check(host.name)
    up.launcher.send(host, archive, target, timeout=TRANSFER_TIMEOUT)
    try:
        done = up.launcher.run(host, [*program, "stage", target, str(parent)], timeout=TRANSFER_TIMEOUT)
        if done.returncode:
            raise CommandFailed(["stage", shlex.quote(target)], done.returncode, done.stderr, node=host.name)
    finally:
        up.launcher.run(host, ["rm", "-f", target])
