"""Follows the hosts' addresses for a node: what `addresses` finds out is told to the API and to the node's network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

from usernetes_deploy import threads
from usernetes_deploy.api import Api
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.network.watch import Watch
from usernetes_deploy.node import addresses
from usernetes_deploy.node.cluster_api import as_kubelet, identity, wait_for_api
from usernetes_deploy.node.config import NodeConfig
from usernetes_deploy.node.network_part import NetworkPart
from usernetes_deploy.node.publishing import Publishing
from usernetes_deploy.threads import Begin


class Following:
    """Notices that this host's address changes, tells the other nodes, and hears of theirs.

    `lost` is told what is wrong when the address is gone and cannot be followed, and "" when it is back.
    """

    def __init__(
        self, config: NodeConfig, network: NetworkPart, publishing: Publishing, lost: Callable[[str], None]
    ) -> None:
        self._config = config
        self._network = network
        self._publishing = publishing
        self._lost = lost
        self._changed = threading.Event()

    def start(self, begin: Begin = threads.begin) -> None:
        """Begin, in threads that live as long as the process."""
        begin("following", lambda: self._run(begin))

    def _run(self, begin: Begin) -> None:
        config = self._config
        with contextlib.suppress(UsernetesError):  # then the watch goes on asking
            wait_for_api(config)
        # Not as the kubelet, which may see no Node but its own.
        path = f"/api/v1/nodes?labelSelector={addresses.LABEL}"
        nodes = Watch(config.api_outside, identity("kube-proxy"), path, self._changed.set)

        def listed() -> dict[str, str]:
            found = [item["metadata"] for item in nodes.objects.values()]
            return {metadata["name"]: metadata["labels"][addresses.LABEL] for metadata in found}

        following = addresses.Addresses(
            config.name,
            config.interface,
            config.host_address,
            self._changed,
            follows=self._network.follows() and not config.control_plane,
            tell=lambda address: self._tell(address, nodes),
            change=self._change,
            lost=self._lost,
            listed=listed,
        )
        nodes.start()
        following.start(begin)

    def _tell(self, address: str, nodes: Watch) -> None:
        self._publishing.connect_again()
        nodes.again()
        api = as_kubelet(self._config)
        try:
            body = {"metadata": {"labels": {addresses.LABEL: address}}}
            api.request("PATCH", f"/api/v1/nodes/{self._config.name}", body, "application/merge-patch+json")
        finally:
            api.close()

    def _change(self, own: str, peers: Mapping[str, str]) -> None:
        self._network.move(own, peers)
        if self._config.control_plane and peers:
            admin = Api(self._config.api_outside, identity("admin"))
            path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
            try:
                admin.request("PATCH", path, {"data": dict(peers)}, "application/merge-patch+json")
            finally:
                admin.close()
            self._publishing.look_again()
