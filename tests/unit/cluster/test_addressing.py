"""Addresses: the ranges of the spec, the names of the API, and each node's part of the network."""

from __future__ import annotations

import pytest

from usernetes_deploy.cluster.addressing import NetworkPlan, dns_ip, networks_of, parts_of, server_names
from usernetes_deploy.cluster.spec import ClusterSpec, load
from usernetes_deploy.network.base import Peer

PEERS = [Peer(index, f"node{index}", f"192.0.2.{index + 1}", 20000) for index in range(3)]


def test_the_ranges_are_the_specs() -> None:
    spec = load({"network": {"podCIDR": "10.128.0.0/16", "nodeCIDR": "10.99.0.0/24", "serviceCIDR": "10.97.0.0/16"}})
    networks = networks_of(spec)
    assert (networks.pod_cidr(1), networks.node_address(1), dns_ip(spec.network)) == (
        "10.128.1.0/24",
        "10.99.0.2",
        "10.97.0.10",
    )


def test_the_api_is_known_by_every_name_that_clients_use() -> None:
    spec = load({"network": {"dnsDomain": "site.local"}, "launcher": "ssh", "hosts": ["h1"]})
    names = server_names(spec, networks_of(spec), "h1", "192.0.2.1")
    assert {"kubernetes.default.svc.site.local", "10.96.0.1", "10.64.0.1", "192.0.2.1", "h1"} <= set(names)


@pytest.mark.parametrize("mtu", [None, 1400])
def test_every_member_has_a_part_that_names_all_others(mtu: int | None) -> None:
    parts = parts_of(load({"network": {"mtu": mtu} if mtu else {}}), PEERS)
    assert list(parts) == ["node0", "node1", "node2"]
    assert [len(part["peers"]) for part in parts.values()] == [2, 2, 2]
    assert {part["mtu"] == 1400 for part in parts.values()} == {mtu == 1400}


def test_the_objects_of_the_plan_tell_the_hosts_addresses() -> None:
    plan = NetworkPlan(
        networks_of(ClusterSpec()),
        "https://192.0.2.1:20001",
        {},
        {},
        frozenset(),
        {"node0": "192.0.2.1"},
        [{"kind": "X"}],
    )
    assert (plan.api_inside, plan.api_port) == ("https://10.64.0.1:6443", 20001)
    first, second = plan.objects
    assert (first["data"], second) == ({"node0": "192.0.2.1"}, {"kind": "X"})
