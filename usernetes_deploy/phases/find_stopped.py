"""Find the members of a stopped cluster, and the folders that their nodes begin with."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp, Found
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.phases.connect_hosts import draw_ports


class FindStopped:
    """Every member that was told to end comes again, with the ports it had where these are free."""

    title = "find the stopped nodes"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `UsernetesError` when the first node's folder has lost the cluster's data."""
        members = up.members.to_stop()
        hosts = [member.host for member in members]
        had = {member.name: [port for port in (member.at.mesh_port, member.at.api_port) if port] for member in members}
        taken = {port for ports in had.values() for port in ports}
        drawn = draw_ports(hosts, one_host=up.launcher.shares_host)
        up.found = Found(
            hosts, {name: [*had[name], *(port for port in drawn[name] if port not in taken)] for name in had}
        )
        first = up.members.first
        data = f"{first.directory}/etcd/member"
        if up.launcher.run(first.host, ["test", "-d", data]).returncode:
            raise UsernetesError(
                f"the cluster's data is gone: there is no {data}",
                node=first.name,
                remedy=f"usernetes down --cluster {up.spec.name}, then usernetes up",
            )
        return ", ".join(member.name for member in members)

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""
