"""Publishes Services and hostPorts on the host, for the life of the node: what `network.publish` is asked to do."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from usernetes_deploy import threads
from usernetes_deploy.api import Api
from usernetes_deploy.network.publish.publisher import Exposer, LocalNode
from usernetes_deploy.network.publish.rootlesskit import RootlesskitPorts
from usernetes_deploy.network.watch import Watch
from usernetes_deploy.node.cluster_api import identity, wait_for_api
from usernetes_deploy.node.config import NodeConfig
from usernetes_deploy.threads import Begin


class Publishing:
    """Watches Services and this node's pods, and publishes by rootlesskit's API at `socket`."""

    def __init__(self, config: NodeConfig, socket: Path) -> None:
        self._config = config
        self._socket = socket
        self._changed = threading.Event()
        self._watches: list[Watch] = []

    def start(self, begin: Begin = threads.begin) -> None:
        """Begin, in threads that live as long as the process."""
        begin("publishing", self._run)

    def look_again(self) -> None:
        """The hosts have other addresses, and the status of Services names them."""
        self._changed.set()

    def connect_again(self) -> None:
        """List and watch anew: what the connections to the API began with is no address of this host any more."""
        for watch in self._watches:
            watch.again()

    def _run(self) -> None:
        config = self._config
        wait_for_api(config)

        def context() -> ssl.SSLContext:
            return identity("admin" if config.control_plane else "kubelet-client")

        def watch(path: str) -> Watch:
            return Watch(config.api_outside, context, path, self._changed.set)

        pods = watch(f"/api/v1/pods?fieldSelector=spec.nodeName={config.name}")
        services = watch("/api/v1/services")
        exposer = Exposer(
            LocalNode(config.name, config.node_ip, config.publishes, config.control_plane),
            RootlesskitPorts(str(self._socket)),
            Api(config.api_outside, context, timeout=10),
            lambda: (list(services.objects.values()), list(pods.objects.values())),
            self._changed,
        )
        self._watches = [pods, services] if config.publishes else [pods]
        for one in self._watches:
            one.start()
        exposer.run()
