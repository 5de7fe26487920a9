"""Cordon the nodes that leave and move their pods away with kubectl: disruption budgets and grace periods count."""

from __future__ import annotations

from pathlib import Path

from usernetes_deploy.changes.context import Departure
from usernetes_deploy.cluster.kubectl import kubectl
from usernetes_deploy.errors import UsernetesError


class DrainNodes:
    """A node that cannot be drained leaves all the same, and that is said."""

    title = "drain the nodes"

    def check(self, leave: Departure) -> bool:
        """Not by force, and only where a node is."""
        return not leave.force and any(member.place for member in leave.leaving)

    def apply(self, leave: Departure) -> str:
        """One after the other, so that a budget is not asked for everything at once."""
        drained = 0
        for member in leave.leaving:
            if member.place is None:
                continue
            try:
                drain(leave, member.name)
            except UsernetesError as refused:
                leave.report.line(f"  warning: {member.name} could not be drained: {refused}")
                continue
            leave.report.line(f"{member.name}: cordoned and drained")
            drained += 1
        return f"{drained} drained"

    def undo(self, leave: Departure) -> None:
        """They stay cordoned: they are leaving."""


def drain(leave: Departure, name: str) -> None:
    """One node; raises `CommandFailed`."""
    options = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={leave.drain_seconds}s"]
    kubectl(leave.state, Path(leave.record.bundle["root"]), ["drain", name, *options], node=name)
