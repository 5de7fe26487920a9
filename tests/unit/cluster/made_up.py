"""Members and plans for tests that need no hosts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from usernetes_deploy.cluster.addressing import NetworkPlan, networks_of, parts_of
from usernetes_deploy.cluster.membership import Member, Membership, Place, State
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.cluster.spec import ClusterSpec, dump, load
from usernetes_deploy.launch.base import Host
from usernetes_deploy.network.base import Peer
from usernetes_deploy.network.keys import make_key_pair

SINCE = "2026-01-02T03:04:05+00:00"


def member(
    index: int, state: State = State.READY, *, cgroups: str = "none", labels: dict[str, str] | None = None
) -> Member:
    """A node on a host of its own."""
    name = f"node{index}"
    place = Place(
        address=f"192.0.2.{index + 2}",
        interface="eth0",
        why="the default route's",
        mtu=1500,
        base=Path("/var/tmp/usernetes-1"),
        node_dir=Path(f"/var/tmp/usernetes-1/ab-{index}"),
        outer="slirp4netns",
        cgroups=cgroups,
        manager="",
        nameservers=("192.0.2.53",),
        mesh_port=20001,
        api_port=20002 if index == 0 else None,
    )
    host = Host(name, place.address, str(index), labels or {})
    return Member(name, index, host, state, place, public_key=make_key_pair().public, handle={"pid": 5}, since=SINCE)


def plan(members: list[Member], spec: ClusterSpec | None = None) -> NetworkPlan:
    """A network of these members, all of them new."""
    spec = spec or ClusterSpec()
    keys = {one.name: make_key_pair() for one in members}
    peers = [
        Peer(one.index, one.name, one.at.address, one.at.mesh_port, public_key=keys[one.name].public) for one in members
    ]
    return NetworkPlan(
        networks=networks_of(spec),
        server="https://192.0.2.2:20002",
        parts=parts_of(spec, peers),
        keys=keys,
        publishing=frozenset(one.name for one in members),
        addresses={one.name: one.at.address for one in members},
        backend_objects=[],
    )


def recorded(members: Iterable[Member], spec: ClusterSpec | None = None) -> Record:
    """A cluster of these members."""
    return Record(
        name="demo",
        id="ab",
        created=SINCE,
        spec=dump(spec or load({"name": "demo"})),
        bundle={"name": "0123", "digest": "0123456789abcdef", "root": "/opt/bundle"},
        launcher={"launcher": "fake"},
        members=Membership(members),
    )
