"""The end of a cluster: nodes that left without an answer are tried once more, and then the record goes."""

from __future__ import annotations

from usernetes_deploy.changes.context import Departure
from usernetes_deploy.cluster import lease
from usernetes_deploy.cluster.nodes import ASK_TIMEOUT, stop_nodes


class TrySilent:
    """Ends nodes of members that were removed by force, where their hosts answer again."""

    title = "try those that were silent"

    def check(self, leave: Departure) -> bool:
        """Only where there are some."""
        return bool(leave.members.silent())

    def apply(self, leave: Departure) -> str:
        """A host that is silent still is said, with what ends its node later."""
        silent = leave.members.silent()
        outcome = stop_nodes(leave.launcher, leave.record, silent, deadline=ASK_TIMEOUT)
        leave.silent |= set(outcome.failures)
        for name, error in outcome.failures.items():
            leave.report.line(f"  warning: {name}, removed by force, may still have its node: {error}")
            remedy = f"usernetes down --hosts {name} --cluster {leave.state.name}"
            leave.report.line(f"  fix: when it answers again, {remedy}")
        return f"{len(outcome.results)} of {len(silent)} ended"

    def undo(self, leave: Departure) -> None:
        """They have ended."""


class ForgetCluster:
    """Removes the state directory."""

    title = "forget the cluster"

    def check(self, leave: Departure) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, leave: Departure) -> str:
        """Nothing of it is known afterwards."""
        lease.release_of(leave.state.directory)
        leave.state.remove()
        return str(leave.state.directory)

    def undo(self, leave: Departure) -> None:
        """It is the last phase."""
