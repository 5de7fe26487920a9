"""The addresses of a cluster as its spec lays them out, and the plan of its network that all members share."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from usernetes_deploy.cluster.launchers import kind
from usernetes_deploy.cluster.spec import ClusterSpec, NetworkSpec
from usernetes_deploy.network import backend_named, native
from usernetes_deploy.network.base import Networks, Peer
from usernetes_deploy.network.keys import KeyPair
from usernetes_deploy.node.config import API_PORT


@dataclass(frozen=True)
class NetworkPlan:
    """Who has which address, and what each node is told of the others.

    `server` is the API's URL on the hosts' network. `parts` is the backend's part of each node's configuration, by
    name and without its private key; `keys` are those of the nodes that come. `publishing` names the nodes that publish
    Services on their host: one a host. `addresses` are the hosts', by node.
    """

    networks: Networks
    server: str
    parts: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, KeyPair]
    publishing: frozenset[str]
    addresses: Mapping[str, str]
    backend_objects: Sequence[dict[str, Any]]

    @property
    def api_inside(self) -> str:
        """The API's URL inside the cluster's network."""
        return api_inside(self.networks)

    @property
    def api_port(self) -> int:
        """The API's port on the first host."""
        return int(self.server.rpartition(":")[2])

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects that change with the members: they are applied again when some come."""
        return [native.hosts(self.addresses), *self.backend_objects]


def networks_of(spec: ClusterSpec) -> Networks:
    """The address ranges of the nodes and of the pods.

    >>> networks_of(ClusterSpec()).pod_cidr(2)
    '10.244.2.0/24'
    """
    return Networks(nodes=spec.network.node_cidr, pods=spec.network.pod_cidr)


def api_inside(networks: Networks) -> str:
    """The API's URL inside the cluster's network.

    >>> api_inside(networks_of(ClusterSpec()))
    'https://10.64.0.1:6443'
    """
    return f"https://{networks.node_address(0)}:{API_PORT}"


def dns_ip(network: NetworkSpec) -> str:
    """The tenth address of the service network, as everywhere.

    >>> dns_ip(NetworkSpec())
    '10.96.0.10'
    """
    return str(ipaddress.IPv4Network(network.service_cidr)[10])


def server_names(spec: ClusterSpec, networks: Networks, host: str, address: str) -> list[str]:
    """What the API's certificate is valid for: its names inside the cluster, and the first host's outside."""
    domain = spec.network.dns_domain
    return [
        "kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}",
        str(ipaddress.IPv4Network(spec.network.service_cidr)[1]), networks.node_address(0),
        "localhost", "127.0.0.1", address, host, *([socket.gethostname()] if kind(spec.launcher).shares_host else []),
    ]  # fmt: skip


def parts_of(spec: ClusterSpec, peers: Sequence[Peer]) -> dict[str, dict[str, Any]]:
    """The backend's part of each node's configuration, by name, with the MTU that the spec asks for.

    >>> sorted(parts_of(ClusterSpec(), [Peer(0, "node0", "192.0.2.1", 20000)]))
    ['node0']
    """
    plans = backend_named(spec.network.backend).plan(peers, networks_of(spec))
    own = {"mtu": spec.network.mtu} if spec.network.mtu else {}
    return {peer.name: {**plan, **own} for peer, plan in zip(peers, plans, strict=True)}
