"""Ask the launcher who the members are."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from usernetes_deploy.changes.context import BringUp, Found
from usernetes_deploy.cluster.membership import Member, Membership, now
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.cluster.spec import dump
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.base import Host

CANDIDATES = 8  # ports tried on each host; the first that is free is taken
NODE_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")  # also the value of a label: 63 characters at most
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
        hosts = hosts[: up.spec.nodes]
        check_names(hosts)
        ports = draw_ports(hosts, one_host=up.launcher.shares_host)
        if up.saved:  # kubeconfigs of users have the API's port
            ports[hosts[0].name] = [up.saved.manifest.port, *ports[hosts[0].name]]
        up.found = Found(hosts, ports)
        bundle = up.found_bundle
        up.record = Record(
            name=up.spec.name,
            id=secrets.token_hex(4),
            created=now(),
            spec=dump(up.spec),
            bundle={"name": bundle.manifest.name, "digest": bundle.digest, "root": str(bundle.root)} if bundle else {},
            launcher={},
            members=Membership(Member(host.name, index, host) for index, host in enumerate(hosts)),
        )
        return f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'} ({up.launcher.name})"

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""


def check_names(hosts: Sequence[Host]) -> None:
    """Raise `UsageError` for names that Kubernetes would refuse, all of them at once."""
    bad = [host.name for host in hosts if not NODE_NAME.match(host.name)]
    if bad:
        raise UsageError(f"host names that cannot name a Kubernetes node: {', '.join(bad)}")


def draw_ports(hosts: Sequence[Host], *, one_host: bool) -> dict[str, list[int]]:
    """Ports to try on each host; where hosts are one and the same (local launcher) no port is drawn twice."""
    kinds = len(hosts) if one_host else 1
    drawn = iter(secrets.SystemRandom().sample(PORTS, k=min(len(PORTS), kinds * CANDIDATES)))
    common = [next(drawn) for _ in range(CANDIDATES)]
    return {
        host.name: [next(drawn) for _ in range(CANDIDATES)] if one_host and place else common
        for place, host in enumerate(hosts)
    }
