"""Ask every host all preflight questions at once: one shell script, one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from usernetes_deploy import facts
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import NodeFailures
from usernetes_deploy.launch.base import Host, on_all


class ProbeNodes:
    """Fills in `facts`; nothing is changed anywhere."""

    title = "probe the hosts"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `NodeFailures` with a line for each host that could not be asked."""

        def ask(host: Host, *also: Host) -> facts.HostFacts:
            script = facts.script(need_of(up, host, *also))
            asked = time.time()
            answer = up.launcher.run(host, ["sh", "-s"], stdin=script.encode(), timeout=30)
            return facts.read(answer.check(host.name).stdout, asked=asked, answered=time.time())

        # Every local node has the same host: it is asked once, for the ports of all.
        if up.launcher.shares_host:
            up.facts = dict.fromkeys((host.name for host in up.hosts), ask(*up.hosts))
        else:
            outcome = on_all(up.hosts, ask, deadline=up.deadline)
            up.facts = dict(outcome.results)
            let_go(up, outcome.failures)
        return f"{len(up.facts)} answers"

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""


def need_of(up: BringUp, *hosts: Host) -> facts.Need:
    """What the nodes of `hosts` need of their host, with the ports they may take; no hosts: what any node needs."""
    spec = up.spec
    ports: list[str] = []
    for host in hosts:
        candidates = up.found.ports[host.name]
        ports += [f"udp/{port}" for port in ([spec.mesh_port] if fixed_mesh_port(up) else candidates)]
        if host.name == up.control_plane:
            ports += [f"tcp/{port}" for port in ([spec.api_port] if spec.api_port else candidates)]
    return replace(
        need(spec),
        ports=tuple(ports),
        architecture=up.found_bundle.manifest.document.get("architecture", "") if up.found_bundle else "",
    )


def need(spec: ClusterSpec) -> facts.Need:
    """A spec's need of any host."""
    network = spec.network
    return facts.Need(
        node_dir=spec.storage.node_directory or "",
        cidrs=(network.pod_cidr, network.service_cidr, network.node_cidr),
        outer=network.outer,
        network=network.backend,
        interface=network.interface or "",
        devices=tuple(path for device in spec.devices for path in device.paths),
        nameservers=tuple(network.nameservers),
    )


def fixed_mesh_port(up: BringUp) -> bool:
    """One port for all hosts, where the hosts are not one and the same."""
    return up.spec.mesh_port is not None and (not up.launcher.shares_host or up.spec.nodes == 1)


def let_go(up: BringUp, failures: Mapping[str, BaseException]) -> None:
    """Give up the failed nodes where --min-nodes lets that pass.

    Raises `NodeFailures` when they are too many or the first host's.
    """
    gone = {host.name for host in up.hosts} & {*up.members.given_up(), *failures}
    least = (0 if up.others else up.spec.min_nodes) or len(up.hosts)
    if failures and (len(up.hosts) - len(gone) < least or up.control_plane in gone):
        raise NodeFailures(failures)
    for name, error in failures.items():
        up.members.move(name, State.GIVEN_UP, str(error) or type(error).__name__)
