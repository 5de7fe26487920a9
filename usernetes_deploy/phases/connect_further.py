"""Find the hosts that are to join a running cluster, and give each the lowest number that is free."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.nodes import members_of, stop_nodes
from usernetes_deploy.cluster.spec import MAX_NODES
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.base import Host
from usernetes_deploy.phases.connect_hosts import check_names, draw_ports


class ConnectFurther:
    """`find` returns the new hosts; they must not be members already."""

    title = "find further hosts"

    def __init__(self, find: Callable[[], Sequence[Host]]) -> None:
        self.find = find

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Fill in `hosts` and their numbers; addresses of nodes that left are used again."""
        up.hosts = list(self.find())
        check_names(up.hosts)
        there = {str(node["name"]) for node in up.existing}
        twice = [host.name for host in up.hosts if host.name in there]
        if twice:
            raise UsageError(f"already nodes of cluster {up.spec.name}: {', '.join(twice)}")
        names = {host.name for host in up.hosts}
        again = [node for node in up.left if node["name"] in names]
        ended = stop_nodes(up.launcher, up.state.read(), members_of({"nodes": again}))
        ended.check("end the node that was removed by force")
        up.left = [node for node in up.left if node["name"] not in names]
        taken = {int(node["index"]) for node in up.existing}
        free = (index for index in range(1, MAX_NODES) if index not in taken)
        up.indices = {host.name: next(free) for host in up.hosts}
        up.candidates = draw_ports(up)
        return ", ".join(host.name for host in up.hosts)

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""
