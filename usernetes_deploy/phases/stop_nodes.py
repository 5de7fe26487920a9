"""End nodes: the one way in which `up` and `add` take back what they started, `remove` and `down` what is there.

A member is written down as leaving before its node is told to end, and as left when the node has ended. So whoever is
killed in between leaves a record that knows of the node, and the next `remove` or `down` goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from usernetes_deploy.changes.context import Change, Departure
from usernetes_deploy.cluster.membership import Member, State
from usernetes_deploy.cluster.nodes import STOP_DEADLINE, stop_nodes
from usernetes_deploy.errors import NodeFailures, UsernetesError


class StopNodes:
    """Ends the nodes of the members that leave; all do where nobody is named.

    `strict`: a node that cannot be stopped is an error. Else it is said, and its member has left without an answer.
    """

    title = "stop the nodes"

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict

    def check(self, leave: Departure) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, leave: Departure) -> str:
        """Raise `NodeFailures` for nodes that could not be stopped, when `strict`."""
        meant = [member for member in leave.members.to_stop() if member.name in leave.names or not leave.names]
        asked = [member for member in meant if member.name not in leave.silent]
        failures = stop(leave, asked, keep=leave.keep)
        if failures and self.strict:
            raise NodeFailures(failures, "stop the nodes")
        for name, error in failures.items():
            leave.report.line(f"  warning: {name} could not be told to end: {error}")
        leave.silent |= set(failures)
        return f"{len(asked) - len(failures)} stopped"

    def undo(self, leave: Departure) -> None:
        """They have ended; those that have not are leaving, which the record says."""


def stop(
    change: Change,
    members: Sequence[Member],
    *,
    keep: Path | None = None,
    late: Collection[str] = (),
    deadline: float = STOP_DEADLINE,
) -> dict[str, BaseException]:
    """End the nodes of these members; returns those that could not be, by name. `keep` and `late`: see `stop_nodes`."""
    change.members.move([member.name for member in members], State.LEAVING)
    note(change)
    outcome = stop_nodes(
        change.launcher, change.record, members, keep=keep, late=late, deadline=deadline, say=change.report.line
    )
    change.members.move(outcome.results, State.LEFT)
    note(change)
    return dict(outcome.failures)


def note(change: Change) -> None:
    """Write down who is leaving; a full home keeps no node from being stopped, for the record knows of it already."""
    try:
        change.save()
    except UsernetesError as error:
        change.report.line(f"  warning: {error}")
