"""Write the state directory, before anything is started: from here on `down` knows what to clean."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp


class RecordCluster:
    """Writes cluster.json."""

    title = "record the cluster"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `UsageError` when a cluster of this name is there."""
        up.state.create()
        up.save_begun()
        up.recorded()
        up.report.log = up.state.log.open("a", encoding="utf-8")
        return str(up.state.directory)

    def undo(self, up: BringUp) -> None:
        """Remove the directory, unless nodes may still run: then it is what `down` needs."""
        if up.report.log:
            up.report.log.close()
            up.report.log = None
        if up.members.to_stop():
            up.report.line(f"  {up.state.directory} is kept: usernetes down --cluster {up.spec.name} ends what is left")
            return
        up.state.remove()
