"""Give every node its addresses and its part of the network, and tell who meets whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.addressing import NetworkPlan, networks_of, parts_of
from usernetes_deploy.cluster.membership import Member, Membership
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.network import backend_named
from usernetes_deploy.network.base import Peer
from usernetes_deploy.network.keys import make_key_pair


class PlanNetwork:
    """Makes `plan`; nothing leaves the driver yet."""

    title = "plan the network"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `UsageError` when an address range has no room for a node."""
        keys = {member.name: make_key_pair() for member in up.newcomers}
        for name, pair in keys.items():
            up.members.update(name, public_key=pair.public)
        members = [*up.others, *up.newcomers]
        one_host = up.launcher.shares_host
        peers = [peer_of(member, one_host=one_host) for member in (*staying(up), *up.newcomers)]
        up.plan = NetworkPlan(
            networks=networks_of(up.spec),
            server=up.state.server() if up.others else server_of(up),
            parts=parts_of(up.spec, peers),
            keys=keys,
            publishing=publishing(up.newcomers, {member.at.address for member in up.others}),
            addresses={member.name: member.at.address for member in members},
            backend_objects=backend_named(up.spec.network.backend).objects(peers, networks_of(up.spec)),
        )
        return f"{len(peers)} members, {up.spec.network.backend}"

    def undo(self, up: BringUp) -> None:
        """Nobody was told; the record still has the keys of nodes that may run on."""


def publishing(newcomers: Iterable[Member], taken: set[str]) -> frozenset[str]:
    """The nodes that publish Services on their host: the first on each address that none publishes on yet."""
    first: dict[str, str] = {}
    for member in newcomers:
        if member.at.address not in taken:
            first.setdefault(member.at.address, member.name)
    return frozenset(first.values())


def staying(up: BringUp) -> list[Member]:
    """The nodes that stay whatever becomes of this change."""
    return up.members.peers_of([host.name for host in up.hosts])


def parts_without(
    members: Membership, names: Collection[str], spec: ClusterSpec, *, one_host: bool
) -> dict[str, dict[str, Any]]:
    """The part of the network of each node that stays when those of `names` are not, or no longer, there."""
    return parts_of(spec, [peer_of(member, one_host=one_host) for member in members.peers_of(names)])


def peer_of(member: Member, *, one_host: bool) -> Peer:
    """A member as its peers see it; nodes of one host meet on its loopback, and outside nothing is to be seen."""
    return Peer(
        index=member.index,
        name=member.name,
        address="127.0.0.1" if one_host else member.at.address,
        port=member.at.mesh_port,
        mtu=member.at.mtu,
        public_key=member.public_key,
    )


def server_of(up: BringUp) -> str:
    """The API's address on the hosts' network."""
    first = up.members.first.at
    return f"https://{first.address}:{first.api_port}"
