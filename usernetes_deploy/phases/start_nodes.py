"""Start all nodes at once; each gets its blob on stdin."""

from __future__ import annotations

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import Place, State
from usernetes_deploy.errors import NodeFailures, TimedOut
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.phases.probe_nodes import let_go
from usernetes_deploy.phases.stop_nodes import stop


class StartNodes:
    """Returns as soon as every node's keeper stands; what the nodes do then is the next phase's to wait for."""

    title = "start the nodes"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `NodeFailures` for hosts where no node could be started."""
        blobs = {node.name: node for node in up.nodes}

        def start(host: Host) -> object:
            blob = blobs[host.name]
            program = [*scope(up.members[host.name].at, up.record.id), *up.launcher.node_program(host)]
            argv = [*program, "run", f"--directory={blob.node_dir}"]
            up.under_way.add(host.name)
            try:
                handle = up.launcher.start(host, argv, stdin=blob.to_json())
            except TimedOut:
                raise  # it may arrive all the same
            except BaseException:
                up.under_way.discard(host.name)
                raise
            up.under_way.discard(host.name)
            return handle

        up.members.move(blobs, State.STARTED)
        up.save_begun()
        outcome = on_all([member.host for member in up.newcomers], start, deadline=up.deadline)
        for name, handle in outcome.results.items():
            up.members.update(name, handle=handle)
        let_go(up, outcome.failures)
        up.save_begun()
        return f"{len(outcome.results)} started"

    def undo(self, up: BringUp) -> None:
        """Stop them all, keeping their logs beside the state directory as evidence."""
        evidence = up.state.root / f"{up.spec.name}.failed"
        names = {host.name for host in up.hosts}
        begun = [member for member in up.members.to_stop() if member.name in names]
        # A start that was begun and has not returned may reach its host after we have stopped what is there.
        failures = stop(up, begun, keep=evidence, late=frozenset(up.under_way))
        if failures:
            raise NodeFailures(failures, "stop the nodes")
        up.report.line(f"  the nodes' logs are kept in {evidence}")


def scope(place: Place, cluster_id: str) -> list[str]:
    """What stands before the node's command where the user's systemd has to delegate a cgroup to it.

    With ``--scope`` the command stays ours: its stdin and its end are not systemd's. In a batch job nothing says where
    the user's systemd is, so the command does.
    """
    if not place.manager:
        return []
    where = [f"XDG_RUNTIME_DIR={place.manager}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={place.manager}/bus"]
    unit = f"usernetes-{cluster_id}-{place.node_dir.name.rpartition('-')[2]}"
    scoped = ["systemd-run", "--user", "--scope", "--quiet", "--collect", f"--unit={unit}", "--property=Delegate=yes"]
    return ["env", *where, *scoped]
