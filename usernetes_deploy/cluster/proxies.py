"""HTTP proxies of a site: what may be asked through them, and what never is.

A cluster's API, nodes, pods and Services are reached directly: whatever runs for a user with ``HTTPS_PROXY`` set gets a
``NO_PROXY`` that names them. containerd on the nodes pulls images through the proxies of `up`'s environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from usernetes_deploy.cluster.files import read_kubeconfig
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.spec import NetworkSpec, network_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsernetesError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NAMES = ("NO_PROXY", "no_proxy")


def beside(state: ClusterState, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a program that speaks to a cluster: the cluster itself is asked without any proxy.

    A kubeconfig that says ``proxy-url`` is obeyed: who wrote that knows that the API is behind it.
    """
    if not any(environment.get(name) or environment.get(name.lower()) for name in PROXIES):
        return dict(environment)
    document = state.read()
    network = network_of(document["spec"])
    server = urlsplit(str(document["server"])).hostname or ""
    addresses = [server, *(member.place.address for member in members_of(document) if member.place)]
    if _through_a_proxy(state):
        addresses = [address for address in addresses if address != server]
    return {**environment, **dict.fromkeys(NAMES, without(environment, network, addresses))}


def without(environment: Mapping[str, str], network: NetworkSpec, addresses: list[str]) -> str:
    """The value of ``NO_PROXY``: what the user has there, then the cluster's own networks and names.

    >>> without({"no_proxy": ".example.org"}, NetworkSpec(), ["192.0.2.2"])
    '.example.org,localhost,127.0.0.1,10.64.0.0/16,10.244.0.0/16,10.96.0.0/16,.svc,.cluster.local,192.0.2.2'
    """
    said = next((environment[name] for name in NAMES if environment.get(name)), "")
    own = [
        *("localhost", "127.0.0.1"),
        network.node_cidr,
        network.pod_cidr,
        network.service_cidr,
        ".svc",
        f".{network.dns_domain}",
        *addresses,
    ]
    return ",".join(dict.fromkeys([*filter(None, (part.strip() for part in said.split(","))), *filter(None, own)]))


def of_nodes(network: NetworkSpec, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What containerd is told about proxies: those of `environment` (that of `up`), {} where there are none.

    They travel in the node's blob, for a proxy's URL may hold a password.

    >>> of_nodes(NetworkSpec(), {"https_proxy": "http://proxy.example.org:3128"})["HTTPS_PROXY"]
    'http://proxy.example.org:3128'
    """
    if network.proxy == "none":
        return {}
    given = {name: environment.get(name) or environment.get(name.lower(), "") for name in PROXIES}
    said = {name: value for name, value in given.items() if value}
    return {**said, "NO_PROXY": without(environment, network, [])} if said else {}


def _through_a_proxy(state: ClusterState) -> bool:
    try:
        return bool(read_kubeconfig(state.kubeconfig).cluster.get("proxy-url"))
    except UsernetesError:  # whoever uses it will say what is wrong with it
        return False
