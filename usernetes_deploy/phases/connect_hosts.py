"""Ask the launcher who the members are."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from usernetes_deploy.context import BringUp
from usernetes_deploy.errors import UsageError
from usernetes_deploy.spec import NAME

CANDIDATES = 8  # ports tried on each host; the first that is free is taken
PORTS = range(20000, 30000)  # below the kernel's ephemeral ports, above the registered services


class ConnectHosts:
    """Names the hosts and draws the cluster's id and the ports to try."""

    title = "connect the hosts"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Fill in `hosts`; nothing is changed anywhere."""
        hosts = list(up.launcher.hosts())
        if len(hosts) < up.spec.nodes:
            raise UsageError(
                f"{up.spec.nodes} nodes were asked for, the {up.launcher.name} launcher has {len(hosts)} hosts",
                remedy=f"--nodes {len(hosts)}, or a larger allocation",
            )
        up.hosts = hosts[: up.spec.nodes]
        bad = [host.name for host in up.hosts if not NAME.match(host.name)]
        if bad:
            raise UsageError(f"host names that cannot name a Kubernetes node: {', '.join(bad)}")
        up.cluster_id = secrets.token_hex(4)
        up.created = datetime.now(UTC).isoformat(timespec="seconds")
        # Hosts may be one and the same (local launcher), so no candidate is given twice.
        drawn = iter(secrets.SystemRandom().sample(PORTS, k=min(len(PORTS), (len(up.hosts) + 1) * CANDIDATES)))
        shared = up.launcher.name == "local"
        ports: dict[str, list[int]] = {}
        common = [next(drawn) for _ in range(CANDIDATES)]
        for host in up.hosts:
            ports[host.name] = [next(drawn) for _ in range(CANDIDATES)] if shared else common
        up.candidates = ports
        return f"{len(up.hosts)} {'host' if len(up.hosts) == 1 else 'hosts'} ({up.launcher.name})"

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""
