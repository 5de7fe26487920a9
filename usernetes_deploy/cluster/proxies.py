"""HTTP proxies of a site: what may be asked through them, and what never is.

A cluster's API, nodes, pods and Services are reached directly: whatever runs for a user with ``HTTPS_PROXY`` set gets a
``NO_PROXY`` that names them. containerd on the nodes pulls images through the proxies of `up`'s environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from usernetes_deploy.cluster.state import ClusterState

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NAMES = ("NO_PROXY", "no_proxy")


def beside(state: ClusterState, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a program that speaks to a cluster: the cluster itself is asked without any proxy.

    A kubeconfig that says ``proxy-url`` is obeyed: who wrote that knows that the API is behind it.
    """
    if not any(environment.get(name) or environment.get(name.lower()) for name in PROXIES):
        return dict(environment)
    document = state.read()
    spec: Mapping[str, Any] = document.get("spec", {})
    server = urlsplit(str(document.get("server", ""))).hostname or ""
    through = _through_a_proxy(state)
    addresses = [str(node["address"]) for node in document.get("nodes", ()) if node.get("address")]
    return {
        **environment,
        **dict.fromkeys(NAMES, without(environment, spec, [*([] if through else [server]), *addresses])),
    }


def without(environment: Mapping[str, str], spec: Mapping[str, Any], addresses: list[str]) -> str:
    """The value of ``NO_PROXY``: what the user has there, then the cluster's own networks and names.

    >>> without({"no_proxy": ".example.org"}, {}, ["192.0.2.2"])
    '.example.org,localhost,127.0.0.1,10.64.0.0/16,10.244.0.0/16,10.96.0.0/16,.svc,.cluster.local,192.0.2.2'
    """
    network: Mapping[str, Any] = spec.get("network") or {}
    said = next((environment[name] for name in NAMES if environment.get(name)), "")
    own = [
        *("localhost", "127.0.0.1"),
        str(network.get("nodeCIDR", "10.64.0.0/16")),
        str(network.get("podCIDR", "10.244.0.0/16")),
        str(network.get("serviceCIDR", "10.96.0.0/16")),
        ".svc",
        f".{network.get('dnsDomain', 'cluster.local')}",
        *addresses,
    ]
    return ",".join(dict.fromkeys([*filter(None, (part.strip() for part in said.split(","))), *filter(None, own)]))


def of_nodes(spec: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What containerd is told about proxies: those of `environment` (that of `up`), {} where there are none.

    They travel in the node's blob, for a proxy's URL may hold a password.

    >>> of_nodes({}, {"https_proxy": "http://proxy.example.org:3128"})["HTTPS_PROXY"]
    'http://proxy.example.org:3128'
    """
    if (spec.get("network") or {}).get("proxy") == "none":
        return {}
    given = {name: environment.get(name) or environment.get(name.lower(), "") for name in PROXIES}
    said = {name: value for name, value in given.items() if value}
    return {**said, "NO_PROXY": without(environment, spec, [])} if said else {}


def _through_a_proxy(state: ClusterState) -> bool:
    try:
        document = json.loads(state.read_secret("kubeconfig").reveal())
        return bool(document["clusters"][0]["cluster"].get("proxy-url"))
    except (ValueError, KeyError, IndexError):
        return False
