"""Write the state directory, before anything is started: from here on `down` knows what to clean."""

from __future__ import annotations

from usernetes_deploy import __version__
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.record import written
from usernetes_deploy.cluster.spec import dump


class RecordCluster:
    """Writes cluster.json."""

    title = "record the cluster"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `UsageError` when a cluster of this name is there."""
        up.state.create()
        record(up)
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


def record(up: BringUp, *, done: bool = False) -> None:
    """Write what is known now; `done`: the cluster is what its members are, no longer starting or growing."""
    first = up.members.first.at
    phase = up.members.phase() if done else "growing" if up.others else "starting"
    up.state.write(
        {
            "name": up.spec.name,
            "id": up.cluster_id,
            "phase": phase,
            "created": up.created,
            "version": __version__,
            "spec": dump(up.spec),
            "launcher": dict(up.launcher.to_state()),
            "bundle": {"name": up.bundle.manifest.name, "digest": up.bundle.digest, "root": str(up.bundle.root)},
            "server": f"https://{first.address}:{first.api_port}",
            "members": written(up.members),
            "phases": {**up.timings, **up.report.seconds},
        }
    )
