"""Put what was saved of an earlier cluster into the folders of the nodes that are to begin with it."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.resumed import objects, placed
from usernetes_deploy.errors import NodeFailures, UsernetesError
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.node.saved import OBJECTS, RESUME
from usernetes_deploy.phases.stage_bundle import MAKE_FOLDER, TRANSFER_TIMEOUT
from usernetes_deploy.phases.stop_nodes import stop


class PutSaved:
    """The first node gets the objects; each volume's data goes to the node that it comes to."""

    title = "hand over what was saved"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `NodeFailures` for hosts that do not take it."""
        if up.saved is None:
            raise UsernetesError("this change was begun without a saved cluster")
        manifest = up.saved.manifest
        names = [member.name for member in up.newcomers]
        nodes = placed(manifest.volumes, manifest.nodes, names)
        documents = up.saved.documents()
        changed = up.saved.folder / "changed.jsonl.gz"
        with gzip.open(up.saved.objects, "rt", encoding="ascii") as lines, private(changed) as file:
            file.writelines(objects(lines, documents["pods"], documents["volumes"], nodes))
        files: dict[str, list[tuple[Path, str]]] = {name: [] for name in names}
        for volume in manifest.volumes:
            if volume.file:
                files[nodes[volume.name]].append((up.saved.folder / volume.file, f"{volume.name}.tar"))
        files[up.members.first.name].append((changed, OBJECTS))

        def put(host: Host) -> None:
            folder = f"{up.members[host.name].directory}/{RESUME}"
            up.launcher.run(host, ["sh", "-c", MAKE_FOLDER, "sh", folder]).check(host.name)
            for source, name in files[host.name]:
                up.launcher.send(host, source, f"{folder}/{name}", timeout=TRANSFER_TIMEOUT)

        up.members.move(names, State.STARTED)  # from here on something of them may be on their hosts
        up.save_begun()
        hosts = [member.host for member in up.newcomers if files[member.name]]
        outcome = on_all(hosts, put, deadline=TRANSFER_TIMEOUT)
        if outcome.failures:
            raise NodeFailures(outcome.failures, "hand over what was saved")
        empty = [volume.claim for volume in manifest.volumes if not volume.file]
        if empty:
            up.report.line(f"  warning: saved without their data, empty now: {', '.join(empty)}")
        return f"{manifest.objects} objects, {sum(bool(v.file) for v in manifest.volumes)} volumes"

    def undo(self, up: BringUp) -> None:
        """Have it removed with the nodes' folders."""
        names = {host.name for host in up.hosts}
        failures = stop(up, [member for member in up.members.to_stop() if member.name in names])
        if failures:
            raise NodeFailures(failures, "remove what was handed over")


@contextlib.contextmanager
def private(path: Path) -> Iterator[IO[str]]:
    """A new compressed file that only its user may read."""
    with (
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        gzip.open(file, "wt", compresslevel=1, encoding="ascii") as text,
    ):
        yield cast("IO[str]", text)
