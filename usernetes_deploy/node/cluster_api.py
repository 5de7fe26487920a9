"""The cluster's API as a node asks it: as itself, over the hosts' network, and with patience at first."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable

from usernetes_deploy.api import Api, client_context
from usernetes_deploy.node.config import PKI, NodeConfig
from usernetes_deploy.waiting import until

ASKING = {True: threading.Lock(), False: threading.Lock()}  # by `serving`


def identity(name: str) -> ssl.SSLContext:
    """What this node shows the API as `name`, and whom it believes there."""
    return client_context(f"{PKI}/ca.crt", f"{PKI}/{name}.crt", f"{PKI}/{name}.key")


def as_kubelet(config: NodeConfig) -> Api:
    """The API as this node's kubelet.

    Not through the mesh: a first packet to a peer that is not up yet would be tried again only after five seconds.
    """
    return Api(config.api_outside, identity("kubelet-client"), timeout=5)


def wait_for_api(config: NodeConfig, *, serving: bool = False, alive: Callable[[], bool] = lambda: True) -> None:
    """Ask until the API is ready; less and less often, for a thousand nodes ask at once.

    `serving`: until it answers for our Node. /readyz waits for roles that are written a second later, of which
    neither a kubelet nor the cluster's administrator needs any. Raises `TimedOut` when the node's patience is at its
    end, and `UsernetesError` when who asks is not `alive` any more.
    """
    api, path = as_kubelet(config), f"/api/v1/nodes/{config.name}"
    what, asking = f"the API at {api.server} is ready", ASKING[serving]
    look = (lambda: api.serves(path)) if serving else api.ready

    def turn() -> bool:
        """One of those who wait asks, and the others wait for its answer: on a slow host each question costs."""
        if not asking.acquire(timeout=1):
            return False
        try:
            until(look, config.patience, what, pause=0.05, longest=1.0, alive=alive)
        finally:
            asking.release()
        return True

    try:
        until(turn, config.patience, what, pause=0.0, alive=alive)
    finally:
        api.close()
