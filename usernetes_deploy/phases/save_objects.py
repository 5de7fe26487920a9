"""Have the first node write down all objects of the store, at one revision; nothing is held up meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from usernetes_deploy.changes.context import Saving
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.errors import UsernetesError

SECONDS = 3600.0


class SaveObjects:
    """Fills in `revision` and `documents`: what resuming changes, as the API shows it at that revision."""

    title = "save the objects"

    def check(self, saving: Saving) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, saving: Saving) -> str:
        """Raise `UsernetesError` when the node or the API does not answer."""
        answer = ask(saving, saving.members.first, {"objects": True})
        saving.counted = int(answer["objects"])
        saving.revision = int(answer["revision"])
        api = saving.api(timeout=60)
        exact = f"?resourceVersion={saving.revision}&resourceVersionMatch=Exact"
        try:
            saving.documents = {
                "pods": api.get(f"/api/v1/pods{exact}")["items"],
                "volumes": api.get(f"/api/v1/persistentvolumes{exact}")["items"],
            }
        finally:
            api.close()
        return f"{saving.counted} objects, revision {saving.revision}"

    def undo(self, saving: Saving) -> None:
        """Have the nodes remove what they have written."""
        tidy(saving)


def ask(saving: Saving, member: Member, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a node write what is to be saved to its folder; returns what it says of it."""
    argv = [*saving.launcher.node_program(member.host), "save", member.directory]
    done = saving.launcher.run(member.host, argv, stdin=json.dumps(request).encode(), timeout=SECONDS)
    return dict(json.loads(done.check(member.name).stdout))


def tidy(saving: Saving) -> None:
    """Have the nodes remove what they have written; one that does not answer does at its next save."""
    for member in saving.members.running():
        try:
            ask(saving, member, {})
        except (UsernetesError, ValueError) as error:
            saving.report.line(f"  warning: {member.name}: {member.directory}/save may still be there: {error}")
