"""Write the state directory, before anything is started: from here on `down` knows what to clean."""

from __future__ import annotations

from usernetes_deploy import __version__
from usernetes_deploy.context import BringUp
from usernetes_deploy.spec import dump


class RecordCluster:
    """Writes cluster.json."""

    title = "record the cluster"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `UsageError` when a cluster of this name is there."""
        up.state.create()
        record(up, "starting")
        up.report.log = up.state.log.open("a", encoding="utf-8")
        return str(up.state.directory)

    def undo(self, up: BringUp) -> None:
        """Remove the directory, unless nodes may still run: then it is what `down` needs."""
        if up.report.log:
            up.report.log.close()
            up.report.log = None
        if up.may_run:
            up.report.line(f"  {up.state.directory} is kept: usernetes down --cluster {up.spec.name} ends what is left")
            return
        up.state.remove()


def record(up: BringUp, phase: str) -> None:
    """Write what is known now. `phase` is starting, running or degraded."""
    first = up.hosts[0].name
    api = up.places[first]
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
            "server": f"https://{api.address}:{api.api_port}",
            "nextIndex": len(up.hosts),
            "nodes": [
                {
                    "name": host.name,
                    "index": index,
                    "host": {"name": host.name, "address": host.address, "where": host.where},
                    "address": up.places[host.name].address,
                    "interface": up.places[host.name].interface,
                    "interfaceWhy": up.places[host.name].why,
                    "directory": str(up.places[host.name].node_dir),
                    "base": str(up.places[host.name].base),
                    "outer": up.places[host.name].outer,
                    "cgroups": up.places[host.name].cgroups,
                    "meshPort": up.places[host.name].mesh_port,
                    "apiPort": up.places[host.name].api_port,
                    "mtu": up.places[host.name].mtu,
                    "handle": dict(up.handles.get(host.name, {})),
                }
                for index, host in enumerate(up.hosts)
                if host.name in up.places
            ],
            "givenUp": {name: str(error) for name, error in up.missing.items()},
            "phases": up.report.seconds,
        }
    )
