"""Write the joining nodes into the state directory, before anything of them is started."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import may_be_there


class RecordGrowth:
    """From here on `down` and `remove` know of the new nodes."""

    title = "record the new nodes"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Add them to cluster.json."""
        up.save_begun()
        up.report.log = up.state.log.open("a", encoding="utf-8")
        return f"{len(up.others)} + {len(up.newcomers)} nodes"

    def undo(self, up: BringUp) -> None:
        """Take them out again, unless some of them may still run: then `down` and `remove` have to know them."""
        if up.report.log:
            up.report.log.close()
            up.report.log = None
        names = [host.name for host in up.hosts if host.name in up.members]
        left = [name for name in names if may_be_there(up.members[name])]
        up.members.forget(name for name in names if name not in left)
        up.members.restore(up.before)
        up.save()
        if left:
            words = ", ".join(left)
            up.report.line(f"  {words} stay in the record, for they may still run: usernetes remove NAME --force")
