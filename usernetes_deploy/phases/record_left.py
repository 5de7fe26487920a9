"""Write down who has left: their numbers and addresses are free for others."""

from __future__ import annotations

from usernetes_deploy.changes.context import Departure
from usernetes_deploy.cluster.membership import State


class RecordLeft:
    """Only those are still known that were lost or removed without their help, or may have left something behind."""

    title = "record who left"

    def check(self, leave: Departure) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, leave: Departure) -> str:
        """Raise `UsernetesError` when it cannot be written."""
        members = leave.members
        # A node of a batch job ends with its host or job; any other may live on where we cannot reach it.
        silent = set() if leave.launcher.ends_with_host else leave.silent & set(leave.names)
        for name in leave.names:
            why = members[name].why or leave.gone.get(name, "")
            members.move(name, State.LEFT, why, silent=name in silent)
        leave.launcher.release([name for name in leave.names if name not in silent])
        members.forget(name for name in leave.names if name not in leave.gone and name not in silent)
        leave.save()
        for name in sorted(silent):
            there = members[name].directory
            leave.report.line(f"  {name}: {there} may still be there; `usernetes down` tries again")
        leave.report.line(f"{', '.join(leave.names)} left; {len(members.present())} nodes stay")
        return f"{len(leave.names)} left"

    def undo(self, leave: Departure) -> None:
        """They are gone."""
