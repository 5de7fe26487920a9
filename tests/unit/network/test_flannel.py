"""The flannel backend: its plan, its objects, and the scripts that a node runs."""

from __future__ import annotations

import json

import pytest

from usernetes_deploy.errors import UsageError
from usernetes_deploy.network.base import Networks, Peer
from usernetes_deploy.network.flannel import Flannel, backend
from usernetes_deploy.network.flannel import objects as flannel_objects


def members(count: int = 3, port: int = 8472, mtu: int = 1500) -> list[Peer]:
    return [Peer(i, f"n{i}", f"192.0.2.{i + 1}", port, mtu) for i in range(count)]


def test_the_overlay_leaves_room_for_its_header() -> None:
    plan = Flannel().plan(members(), Networks())[0]
    assert plan["mtu"] == 1450
    conf = flannel_objects.net_conf(plan["podNetwork"], plan["listenPort"], plan["mtu"] + backend.OVERHEAD)
    assert conf["Backend"] == {"Type": "vxlan", "VNI": 1, "Port": 8472, "MTU": 1500}
    json.dumps(plan)


def test_nodes_on_one_host_are_refused() -> None:
    shared = [Peer(i, f"n{i}", "192.0.2.1", 8472) for i in range(2)]
    with pytest.raises(UsageError, match="a host for each node"):
        Flannel().plan(shared, Networks())


def test_different_ports_are_refused_with_the_remedy() -> None:
    mixed = [*members(2), Peer(2, "n2", "192.0.2.3", 9000)]
    with pytest.raises(UsageError, match="same UDP port on all hosts, got 8472, 9000") as caught:
        Flannel().plan(mixed, Networks())
    assert "meshPort" in str(caught.value)


def test_a_small_mtu_is_refused() -> None:
    with pytest.raises(UsageError, match="MTU 1330 or more, not 1300"):
        Flannel().plan(members(mtu=1300), Networks())


def test_every_node_is_there_with_its_pods_and_public_address_before_flannel_looks() -> None:
    nodes = [item for item in Flannel().objects(members(), Networks()) if item["kind"] == "Node"]
    assert [node["spec"]["podCIDR"] for node in nodes] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    assert nodes[2]["metadata"]["annotations"] == {flannel_objects.PUBLIC_ADDRESS: "192.0.2.3"}


def test_peers_addresses_are_reached_through_their_end_of_the_overlay() -> None:
    plan = Flannel().plan(members(), Networks())[0]
    assert backend.route_batch(plan).splitlines()[0] == (
        "route replace 10.64.0.2/32 via 10.244.1.0 dev flannel.1 onlink src 10.64.0.1"
    )


def test_a_workers_own_calls_of_the_api_go_over_the_hosts_network() -> None:
    rules = backend.api_rules("10.64.0.1", "https://192.0.2.1:26951")
    assert "ip daddr 10.64.0.1 tcp dport 6443 dnat to 192.0.2.1:26951" in rules
