"""Have the API forget the nodes that leave, so that nothing is scheduled there and their pods start elsewhere."""

from __future__ import annotations

from usernetes_deploy.api import Api
from usernetes_deploy.changes.context import Departure


class DeleteNodes:
    """By force, pods that nobody hears from are deleted as they are."""

    title = "delete the nodes"

    def check(self, leave: Departure) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, leave: Departure) -> str:
        """Raise `UsernetesError` when the API cannot be asked."""
        api = leave.api()
        try:
            for member in leave.leaving:
                api.delete({"apiVersion": "v1", "kind": "Node", "metadata": {"name": member.name}})
                if leave.force:
                    leave.report.line(f"{member.name}: {evict(api, member.name)} pods were deleted as they were")
        finally:
            api.close()
        return f"{len(leave.leaving)} deleted"

    def undo(self, leave: Departure) -> None:
        """They are leaving."""


def evict(api: Api, node: str) -> int:
    """Delete the pods of a node that nobody hears from, so that others take their place at once; returns how many."""
    pods = api.get(f"/api/v1/pods?fieldSelector=spec.nodeName={node}")["items"]
    for pod in pods:
        api.delete({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}, grace=0)
    return len(pods)
