"""Write the joining nodes into the state directory, before anything of them is started."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.phases.record_cluster import record


class RecordGrowth:
    """From here on `down` and `remove` know of the new nodes."""

    title = "record the new nodes"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Add them to cluster.json."""
        record(up, "growing")
        up.report.log = up.state.log.open("a", encoding="utf-8")
        return f"{len(up.existing)} + {len(up.hosts)} nodes"

    def undo(self, up: BringUp) -> None:
        """Take them out again, unless some of them may still run: then `down` and `remove` have to know them."""
        if up.report.log:
            up.report.log.close()
            up.report.log = None
        if up.may_run:
            record(up, "degraded")
            names = ", ".join(host.name for host in up.hosts)
            up.report.line(f"  {names} stay in the record, for they may still run: usernetes remove NAME --force")
            return
        up.hosts, up.missing = (), {}
        record(up, up.phase_before)
