"""Judge the hosts of a stopped cluster again; each node goes where its folder is."""

from __future__ import annotations

from dataclasses import replace

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import Member, Place
from usernetes_deploy.errors import HostNotFit
from usernetes_deploy.phases.check_nodes import judge, place
from usernetes_deploy.phases.probe_nodes import let_go


class PlaceAgain:
    """As `CheckNodes`, but folder and ports are those that the node had; a port that is taken meanwhile is another."""

    title = "check the hosts"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `NodeFailures` with every problem of every host."""
        failures: dict[str, BaseException] = {}
        moved: list[str] = []
        for member in up.newcomers:
            if member.name not in up.facts:
                continue
            bad = [item for item in judge(up, member.host, up.facts[member.name]) if item.severity == "problem"]
            if bad:
                failures[member.name] = HostNotFit([(item.what, item.remedy) for item in bad], node=member.name)
                continue
            again = _place(up, member)
            if (again.address, again.api_port) != (member.at.address, member.at.api_port) and not member.index:
                moved.append(f"https://{again.address}:{again.api_port}")
            up.members.update(member.name, place=again)
        let_go(up, failures)
        for server in moved:
            up.report.line(f"  warning: the API's address is taken, or the host has another: now it is {server}")
        return f"{len(up.newcomers)} fit" + (", another API address" if moved else ", same addresses")

    def undo(self, up: BringUp) -> None:
        """The record has the places of nodes that are stopped; the next start looks again."""


def _place(up: BringUp, member: Member) -> Place:
    """Where the node is now: its folder as it was, the rest as its host is now."""
    answers = up.facts[member.name]
    fresh, had = place(up, member.host, answers), member.at
    free = {entry.name for entry in answers.ports.ports if not entry.error}
    return replace(
        fresh,
        base=had.base,
        node_dir=had.node_dir,
        mesh_port=had.mesh_port if f"udp/{had.mesh_port}" in free else fresh.mesh_port,
        api_port=had.api_port if f"tcp/{had.api_port}" in free else fresh.api_port,
    )
