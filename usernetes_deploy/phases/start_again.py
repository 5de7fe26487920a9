"""Start the nodes of a stopped cluster, each in the folder that it had."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.phases.start_nodes import StartNodes
from usernetes_deploy.phases.suspend_nodes import suspend_again


class StartAgain(StartNodes):
    """As `StartNodes`; taking it back keeps the folders."""

    title = "start the nodes"

    def undo(self, up: BringUp) -> None:
        """End what was started; the cluster is stopped again, as it was."""
        suspend_again(up)
