"""Fetch what the nodes have written, and make of it one archive that is sealed, read back, and put under its name."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from usernetes_deploy import __version__
from usernetes_deploy.changes.context import Saving
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.cluster.nodes import ask_nodes, fetch
from usernetes_deploy.cluster.savefile import DOCUMENTS, OBJECTS, Manifest, Writer, images_of
from usernetes_deploy.node.saved import SAVE
from usernetes_deploy.phases.save_objects import tidy


class WriteArchive:
    """Fills in `size`. The archive that was there before is replaced in one move, or stays."""

    title = "write the archive"

    def check(self, saving: Saving) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, saving: Saving) -> str:
        """Raise `UsernetesError` when it cannot be written."""
        spare = Path(tempfile.mkdtemp(prefix=".save-", dir=saving.state.directory))
        try:
            parts: dict[str, Path | bytes] = {OBJECTS: self._part(saving, saving.members.first, OBJECTS, spare)}
            parts[DOCUMENTS] = json.dumps(saving.documents).encode()
            for volume in saving.volumes:
                if volume.file:
                    member = saving.members.named(volume.node)
                    parts[volume.file] = self._part(saving, member, f"{volume.folder}.tar", spare)
            identities = saving.state.read_secret("secrets.json")
            saving.size = Writer(saving.target, saving.key).write(manifest_of(saving), identities, parts)
        finally:
            shutil.rmtree(spare, ignore_errors=True)
            tidy(saving)
        return f"{saving.size / 1e6:.1f} MB"

    def _part(self, saving: Saving, member: Member, name: str, spare: Path) -> Path:
        """A file that a node has written, here; on this very host it is taken where it lies."""
        there = Path(member.directory) / SAVE / name
        if saving.launcher.shares_host:
            return there
        here = spare / name
        with os.fdopen(os.open(here, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in fetch(saving.launcher, member, there):
                file.write(piece)
        return here

    def undo(self, saving: Saving) -> None:
        """It is the last phase; a half-written archive never had the name."""


def manifest_of(saving: Saving) -> Manifest:
    """What the archive says of itself."""
    record = saving.record
    answers = ask_nodes(saving.launcher, saving.members.running(), brief=True).results
    return Manifest(
        cluster=record.name,
        id=record.id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        revision=saving.revision,
        objects=saving.counted,
        server=record.server,
        nodes=tuple(member.name for member in saving.members.present()),
        images=images_of(answer.get("node") or {} for answer in answers.values()),
        volumes=tuple(saving.volumes),
        spec=record.spec,
    )
