"""End the nodes of a cluster and keep their folders: the workers first, then the node that carries the control plane.

All members are written down as stopped before the first node is told to end. So a stop that was cut off is gone on with
by another `stop`, or by `start`, which first ends what still runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from usernetes_deploy.changes.context import BringUp, Change
from usernetes_deploy.cluster.membership import Member, State
from usernetes_deploy.cluster.nodes import stop_nodes
from usernetes_deploy.errors import NodeFailures
from usernetes_deploy.phases.stop_nodes import note


class SuspendNodes:
    """Ends all nodes; a node that cannot be ended is an error."""

    title = "stop the nodes"

    def check(self, change: Change) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, change: Change) -> str:
        """Raise `NodeFailures` for nodes that could not be ended."""
        members = change.members.to_stop()
        failures = suspend(change, members)
        if failures:
            raise NodeFailures(failures, "stop the nodes")
        return f"{len(members)} stopped"

    def undo(self, change: Change) -> None:
        """They have ended; those that have not are written down as stopped, and another `stop` ends them."""


class EndWhatIsLeft(SuspendNodes):
    """The same before a start: of a stop that was cut off, or of a host that went down, something may be left."""

    title = "end what is left"

    def check(self, change: Change) -> bool:  # noqa: ARG002
        """Always: a node that runs still would keep the new one out of its folder."""
        return True

    def apply(self, change: Change) -> str:
        """Raise `NodeFailures` for nodes that could not be ended."""
        super().apply(change)
        return f"{len(change.members.to_stop())} folders"


def suspend(change: Change, members: Sequence[Member]) -> dict[str, BaseException]:
    """End the nodes of these members and keep their folders; returns those that could not be ended, by name."""
    change.members.move([member.name for member in members], State.STOPPED)
    note(change)
    failures: dict[str, BaseException] = {}
    for some in (
        [member for member in members if member.index],
        [member for member in members if not member.index],
    ):
        outcome = stop_nodes(change.launcher, change.record, some, stay=True, say=change.report.line)
        failures |= outcome.failures
    return failures


def suspend_again(up: BringUp) -> None:
    """Take back a start: what was begun is ended, and the folders stay for the next try. Raises `NodeFailures`."""
    failures = suspend(up, up.members.to_stop())
    if failures:
        raise NodeFailures(failures, "stop the nodes")
    logs = up.members.first.directory
    up.report.line(f"  the cluster is stopped again; the first node's logs are in {logs}/logs")
