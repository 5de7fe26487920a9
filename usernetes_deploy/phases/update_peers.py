"""Tell the nodes that are there who comes: their part of the network changes while they run."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.nodes import change_network
from usernetes_deploy.phases.plan_network import parts_without, staying


class UpdatePeers:
    """Nodes that cannot be told (lost ones) are reported and do not keep others from growing."""

    title = "tell the nodes their peers"

    def check(self, up: BringUp) -> bool:
        """Only where nodes are there already."""
        return bool(up.others)

    def apply(self, up: BringUp) -> str:
        """Change the peers of every existing node."""
        outcome = change_network(up.launcher, staying(up), up.plan.parts)
        for name, error in outcome.failures.items():
            up.report.line(f"  warning: {name} could not be told its new peers: {error}")
        if up.members.first.name in outcome.failures:
            outcome.check("tell the nodes their peers")
        api = up.api()
        for item in up.plan.objects:
            api.apply(item)
        api.close()
        return f"{len(outcome.results)} told"

    def undo(self, up: BringUp) -> None:
        """Back to the peers there were."""
        names = [host.name for host in up.hosts]
        parts = parts_without(up.members, names, up.spec, one_host=up.launcher.shares_host)
        change_network(up.launcher, staying(up), parts)
