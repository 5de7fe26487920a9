"""Find the hosts that are to join a running cluster, and give each the lowest number that is free."""

from __future__ import annotations

from collections.abc import Sequence

from usernetes_deploy.changes.context import BringUp, Found
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.cluster.nodes import stop_nodes
from usernetes_deploy.launch.base import Host
from usernetes_deploy.phases.connect_hosts import check_names, draw_ports


class ConnectFurther:
    """The new hosts must not be members already."""

    title = "find further hosts"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Fill in `hosts` and their numbers; addresses of nodes that left are used again.

        Raises `UsageError` for hosts that are members already.
        """
        hosts = list(up.find())
        check_names(hosts)
        self._end_silent(up, hosts)
        numbers = up.members.free_numbers()
        up.before = up.members.join([Member(host.name, next(numbers), host) for host in hosts])
        up.found = Found(hosts, draw_ports(hosts, one_host=up.launcher.shares_host))
        return ", ".join(host.name for host in hosts)

    def _end_silent(self, up: BringUp, hosts: Sequence[Host]) -> None:
        """A host that comes again may still have the node that left it without an answer."""
        names = {host.name for host in hosts}
        again = [member for member in up.members.silent() if member.name in names]
        stop_nodes(up.launcher, up.record, again).check("end the node that was removed by force")
        for member in again:
            up.members.update(member.name, silent=False)

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""
