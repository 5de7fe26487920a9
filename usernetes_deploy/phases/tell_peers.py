"""Tell the nodes that stay who leaves: they drop its public key, and no packet of it is taken any more."""

from __future__ import annotations

from usernetes_deploy.changes.context import Departure
from usernetes_deploy.cluster.nodes import change_network
from usernetes_deploy.phases.plan_network import parts_without


class TellPeers:
    """A node that cannot be told is said, and keeps nobody from leaving."""

    title = "tell the nodes their peers"

    def check(self, leave: Departure) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, leave: Departure) -> str:
        """Change the peers of every node that stays."""
        names = [member.name for member in leave.leaving]
        parts = parts_without(leave.members, names, leave.spec, one_host=leave.launcher.shares_host)
        told = change_network(leave.launcher, leave.members.peers_of(names), parts)
        for name, error in told.failures.items():
            leave.report.line(f"  warning: {name} could not be told that its peers left: {error}")
        return f"{len(told.results)} told"

    def undo(self, leave: Departure) -> None:
        """They are leaving."""
