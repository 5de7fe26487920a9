"""Find the nodes that are to leave, and hear whether they can: from here on they are leaving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from usernetes_deploy.changes.context import Change, Departure
from usernetes_deploy.cluster.membership import Member, Membership, State, is_present
from usernetes_deploy.cluster.nodes import ask_nodes
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Launcher
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.phases.wait_ready import explain


class FindLeaving:
    """Nodes that are gone leave by force alone."""

    title = "find the nodes"

    def check(self, leave: Departure) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, leave: Departure) -> str:
        """Raise `UsageError` for a name that is no node's, or the control plane's, `UsernetesError` for one gone."""
        leaving = [meant(leave.members, name) for name in leave.names]
        first = leave.members.first
        if first in leaving:
            raise UsageError(f"{first.name} carries the control plane and cannot leave", remedy="usernetes down")
        leave.gone, leave.silent = silence(leave.launcher, [member for member in leaving if is_present(member)])
        if leave.gone and not leave.force:
            name, why = next(iter(leave.gone.items()))
            raise UsernetesError(
                f"it cannot be drained: {why}", node=name, remedy=f"usernetes remove {','.join(leave.names)} --force"
            )
        follow_addresses(leave)
        leave.members.move(leave.names, State.LEAVING)
        leave.save()
        return ", ".join(leave.names)

    def undo(self, leave: Departure) -> None:
        """Who is leaving stays so: pods may have been moved already."""
        names = ",".join(member.name for member in leave.leaving)
        if names:
            leave.report.line(f"  {names} did not leave wholly: usernetes remove {names} goes on with it")


def meant(members: Membership, name: str) -> Member:
    """The member of this name, also one that was given up before its node was started; raises `UsageError`."""
    if name in members and members[name].state is State.GIVEN_UP:
        return members[name]
    return members.named(name)


def silence(launcher: Launcher, members: Sequence[Member]) -> tuple[dict[str, str], set[str]]:
    """Which nodes are gone, each with the reason, and those of them whose host does not answer."""
    outcome = ask_nodes(launcher, members, brief=True)
    gone = {name: str(error).partition("\n")[0] for name, error in outcome.failures.items()}
    gone |= {
        name: f"its node has ended: {explain(answer)}"
        for name, answer in outcome.results.items()
        if not (answer.get("keeper") or {}).get("alive")
    }
    return gone, set(outcome.failures)


def follow_addresses(change: Change) -> None:
    """Take in the addresses that the members' hosts have now: a lease may have given them others since."""
    api = change.api()
    try:
        addresses = api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}").get("data") or {}
    finally:
        api.close()
    for member in change.members.present():
        address = addresses.get(member.name, member.at.address)
        change.members.update(member.name, place=replace(member.at, address=address))
