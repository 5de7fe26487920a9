"""Give every node its addresses and its part of the network, and tell who meets whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.addressing import NetworkPlan, networks_of, parts_of
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.network import backend_named
from usernetes_deploy.network.base import Peer
from usernetes_deploy.network.keys import KeyPair, make_key_pair


class PlanNetwork:
    """Fills in `network`; nothing leaves the driver yet."""

    title = "plan the network"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `UsageError` when an address range has no room for a node."""
        keys = {member.name: make_key_pair() for member in up.newcomers}
        peers = [*recorded_peers(up), *(new_peer(up, member, keys[member.name]) for member in up.newcomers)]
        up.network = NetworkPlan(
            networks=networks_of(up.spec),
            server=up.state.server() if up.existing else server_of(up),
            parts=parts_of(up.spec, peers),
            keys=keys,
            publishing=publishing(up.newcomers, {str(node["address"]) for node in up.existing}),
            addresses={
                **{str(node["name"]): str(node["address"]) for node in up.existing},
                **{member.name: member.place.address for member in up.newcomers},
            },
            backend_objects=backend_named(up.spec.network.backend).objects(peers, networks_of(up.spec)),
        )
        return f"{len(peers)} members, {up.spec.network.backend}"

    def undo(self, up: BringUp) -> None:
        """Nobody was told; the record still has the keys of nodes that may run on."""


def publishing(newcomers: Iterable[Member], taken: set[str]) -> frozenset[str]:
    """The nodes that publish Services on their host: the first on each address that none publishes on yet."""
    first: dict[str, str] = {}
    for member in newcomers:
        if member.place.address not in taken:
            first.setdefault(member.place.address, member.name)
    return frozenset(first.values())


def peers_without(up: BringUp) -> dict[str, dict[str, Any]]:
    """The existing nodes' part of the network as it is without any other node, by node name."""
    return parts_of(up.spec, recorded_peers(up))


def recorded_peers(up: BringUp) -> list[Peer]:
    """The nodes that are there, from cluster.json."""
    return [recorded_peer(up, node) for node in up.existing]


def new_peer(up: BringUp, member: Member, keys: KeyPair) -> Peer:
    """A node that is to be, as its peers will see it."""
    return Peer(
        index=member.index,
        name=member.name,
        address=meeting_address(up, member.place.address),
        port=member.place.mesh_port,
        mtu=member.place.mtu,
        public_key=keys.public,
    )


def recorded_peer(up: BringUp, node: Mapping[str, Any]) -> Peer:
    """A node that is there, from cluster.json."""
    return Peer(
        index=int(node["index"]),
        name=str(node["name"]),
        address=meeting_address(up, str(node["address"])),
        port=int(node["meshPort"]),
        mtu=int(node["mtu"]),
        public_key=str(node["publicKey"]),
    )


def meeting_address(up: BringUp, address: str) -> str:
    """Nodes of one host meet on its loopback: nothing of the mesh is to be seen from outside."""
    return "127.0.0.1" if up.launcher.shares_host else address


def server_of(up: BringUp) -> str:
    """The API's address on the hosts' network."""
    first = up.places[str(up.control_plane)]
    return f"https://{first.address}:{first.api_port}"
