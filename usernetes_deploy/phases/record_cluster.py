"""Write the state directory, before anything is started: from here on `down` knows what to clean."""

from __future__ import annotations

from typing import Any

from usernetes_deploy import __version__
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.spec import dump
from usernetes_deploy.launch.base import Host


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
        up.recorded()
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
    nodes = [*up.existing, *(entry(up, host) for host in up.hosts if host.name in up.places)]
    nodes.sort(key=lambda node: int(node["index"]))
    server = f"https://{nodes[0]['address']}:{nodes[0]['apiPort']}"
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
            "server": server,
            "nodes": nodes,
            "givenUp": {**up.given_up, **{name: str(error) for name, error in up.missing.items()}},
            "losses": list(up.losses),
            "left": list(up.left),
            "phases": up.report.seconds,
        }
    )


def entry(up: BringUp, host: Host) -> dict[str, Any]:
    """One node of cluster.json."""
    place = up.places[host.name]
    return {
        "name": host.name,
        "index": up.indices[host.name],
        "host": {"name": host.name, "address": host.address, "where": host.where},
        "address": place.address,
        "interface": place.interface,
        "interfaceWhy": place.why,
        "directory": str(place.node_dir),
        "base": str(place.base),
        "outer": place.outer,
        "cgroups": place.cgroups,
        "meshPort": place.mesh_port,
        "apiPort": place.api_port,
        "mtu": place.mtu,
        "publicKey": up.network.keys[host.name].public if up.network else "",
        "handle": dict(up.handles.get(host.name, {})),
    }
