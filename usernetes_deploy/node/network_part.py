"""The part that a node has in the cluster's network: it changes while the node runs, as nodes come, go and move."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network import backend_named
from usernetes_deploy.network.base import Config, NodeContext
from usernetes_deploy.node import addresses
from usernetes_deploy.node.config import NodeConfig


class NetworkPart:
    """Applies the backend's configuration of this node, one change at a time.

    `host_address` is where the other nodes find this one now.
    """

    def __init__(self, config: NodeConfig, context: NodeContext) -> None:
        self.host_address = config.host_address
        self._node = config
        self._context = context
        self._backend = backend_named(config.network["backend"])
        self._config: Config = config.network
        self._where: tuple[str, Mapping[str, str]] | None = None  # the addresses in use, when any has changed
        self._lock = threading.Lock()

    def begin(self) -> None:
        """The first time; the host's address may be another than when the node was made, after a restart.

        Raises `UsernetesError` for what the node lacks, before anything is made.
        """
        lacks = self._backend.check(self._config, self._context)
        if lacks:
            reason, remedy = ("; ".join(dict.fromkeys(texts)) for texts in zip(*lacks))
            raise UsernetesError(reason, remedy=remedy)
        with self._lock:
            part = None
            if self._node.interface != "lo" and not self._node.control_plane:
                now = addresses.nearest(addresses.of_interface(self._node.interface), self._node.host_address)
                self._where, self.host_address = (now, {}), now
                part = self._backend.moved(self._config, now, {})
            self._use(part or self._config)

    def replace(self, config: Config) -> None:
        """Take another configuration (peers come and go) without a restart; the private key stays."""
        with self._lock:
            part = {**config, "privateKey": self._config["privateKey"]}
            # The caller may know less than we about who moved.
            self._use((self._backend.moved(part, *self._where) if self._where else None) or part)

    def follows(self) -> bool:
        """Whether hosts may get other addresses while the backend runs."""
        return self._backend.moved(self._config, self._node.host_address, {}) is not None

    def move(self, own: str, peers: Mapping[str, str]) -> None:
        """This host has the address `own` now, and `peers` those (by node name); nothing where it cannot follow."""
        with self._lock:
            part = self._backend.moved(self._config, own, peers)
            if part is not None:
                self._where, self.host_address = (own, peers), own
                self._use(part)

    def status(self) -> dict[str, Any]:
        """The backend's counters."""
        return dict(self._backend.status(self._config, self._context))

    def _use(self, config: Config) -> None:
        self._backend.apply(config, self._context)
        self._config = config
