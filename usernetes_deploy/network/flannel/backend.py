"""Flannel as Usernetes runs it: VXLAN through slirp4netns or pasta, each node's UDP port published on its host.

Slower than the mesh and not encrypted: it is the baseline of comparisons. Nodes reach the API through the hosts'
network until flannel, which needs the API itself, has made the overlay.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import TimedOut, UsageError
from usernetes_deploy.network.base import Config, Networks, NodeContext, Peer, masquerade_rules, write_conflist
from usernetes_deploy.network.flannel import objects
from usernetes_deploy.network.publish.rootlesskit import Forward, RootlesskitPorts

COMPONENT = "flanneld"
OVERLAY = "flannel.1"
OVERHEAD = 50
SMALLEST_MTU = 1280
API_PORT = 6443
KUBECONFIG = "/etc/kubernetes/flannel.conf"
OVERLAY_TIMEOUT = 180.0


class Flannel:
    """The backend `flannel`."""

    name = "flannel"
    credential = objects.USER
    least_mtu = SMALLEST_MTU + OVERHEAD

    def plan(self, members: Sequence[Peer], networks: Networks) -> Sequence[Config]:
        """Return each node's part. All nodes use one UDP port number, so each needs a host of its own."""
        ports = {member.port for member in members}
        if len(ports) > 1:
            raise UsageError(
                f"flannel needs the same UDP port on all hosts, got {', '.join(map(str, sorted(ports)))}",
                remedy="choose one that is free everywhere with meshPort",
            )
        if len({member.address for member in members}) < len(members):
            raise UsageError("flannel needs a host for each node", remedy="network.backend: mesh")
        mtu = min(member.mtu for member in members) - OVERHEAD
        if mtu < SMALLEST_MTU:
            raise UsageError(
                f"flannel needs an interface with MTU {SMALLEST_MTU + OVERHEAD} or more, not {mtu + OVERHEAD}"
            )
        return [
            {
                "backend": self.name,
                "mtu": mtu,
                "name": member.name,
                "address": member.address,
                "listenPort": member.port,
                "nodeAddress": networks.node_address(member.index),
                "podCIDR": networks.pod_cidr(member.index),
                "nodeNetwork": networks.nodes,
                "podNetwork": networks.pods,
                "first": networks.node_address(0),
                "peers": [
                    {
                        "name": other.name,
                        "nodeAddress": networks.node_address(other.index),
                        "podCIDR": networks.pod_cidr(other.index),
                    }
                    for other in members
                    if other.index != member.index
                ],
            }
            for member in members
        ]

    def objects(self, members: Sequence[Peer], networks: Networks) -> list[dict[str, Any]]:
        """Return what the first node applies for this backend."""
        nodes = [objects.node(member.name, networks.pod_cidr(member.index), member.address) for member in members]
        return [*objects.rights(), *nodes]

    def check(self, config: Config, context: NodeContext) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """Return what this node lacks: the daemon."""
        return context.without(COMPONENT)

    def apply(self, config: Config, context: NodeContext) -> None:
        """Publish the UDP port, start flanneld, and make the routes once its interface is there."""
        context.must(["ip", "-batch", "-"], address_batch(config))
        networks = [config["podNetwork"], config["nodeNetwork"]]
        context.must(["nft", "-f", "-"], masquerade_rules(networks, config["podNetwork"]))
        write_conflist(context.cni_conf, self.name, config["podCIDR"], config["mtu"], context.folder / "ipam")
        if "config" in context.memory:
            context.memory["config"] = dict(config)
            _routes(config, context)
            return
        context.memory["config"] = dict(config)
        if config["nodeAddress"] != config["first"]:
            context.must(["nft", "-f", "-"], api_rules(config["first"], context.api_outside))
        _publish(config, context)
        settings = context.run_folder / "net-conf.json"
        settings.write_text(
            json.dumps(objects.net_conf(config["podNetwork"], config["listenPort"], config["mtu"] + OVERHEAD))
        )
        context.spawn(COMPONENT, _argv(config, context, settings), lambda: b"")
        context.begin("flannel routes", lambda: self._follow(context))

    def moved(self, config: Config, own: str, peers: Mapping[str, str]) -> None:
        """Not followed: flanneld reads its host's public address once, when it starts."""

    def status(self, config: Config, context: NodeContext) -> Mapping[str, Any]:
        """Return the MTU, the published port and the overlay's counters in bytes and packets."""
        done = context.nr(["ip", "-json", "-stats", "link", "show", OVERLAY], b"")
        try:
            counters = json.loads(done.stdout)[0]["stats64"]
        except (ValueError, LookupError):
            counters = {"rx": {}, "tx": {}}
        return {
            "backend": self.name,
            "interface": OVERLAY,
            "mtu": config["mtu"],
            "endpoint": f"{config['address']}:{config['listenPort']}",
            "received": counters["rx"].get("bytes", 0),
            "sent": counters["tx"].get("bytes", 0),
            "dropped": counters["tx"].get("dropped", 0) + counters["rx"].get("dropped", 0),
        }

    def _follow(self, context: NodeContext) -> None:
        """Add the routes to the other nodes' addresses when flanneld has made its interface."""
        ends = time.monotonic() + OVERLAY_TIMEOUT
        while time.monotonic() < ends:
            config = context.memory.get("config")
            if config is None:
                return
            if context.nr(["ip", "link", "show", OVERLAY, "up"], b"").stdout:
                _routes(config, context)
                return
            time.sleep(0.1)
        raise TimedOut(f"flanneld has not made {OVERLAY} within {OVERLAY_TIMEOUT:g} s")


def address_batch(config: Config) -> str:
    """Return the ``ip -batch`` commands that give the node its address; on lo, for not every kernel has dummies."""
    return f"link set lo up\naddress replace {config['nodeAddress']}/32 dev lo\n"


def route_batch(config: Config) -> str:
    """Return the ``ip -batch`` commands that reach the other nodes' addresses through flannel's overlay.

    A peer's end of the overlay has the first address of its pod CIDR; flanneld keeps its link-layer address known.
    """
    return "".join(
        f"route replace {peer['nodeAddress']}/32 via {peer['podCIDR'].split('/')[0]} dev {OVERLAY} onlink "
        f"src {config['nodeAddress']}\n"
        for peer in config["peers"]
    )


def api_rules(first: str, outside: str) -> str:
    """Return the nft script that leads this node's own calls of the API over the hosts' network."""
    address = urllib.parse.urlsplit(outside)
    return f"""\
add table ip usernetes-api
delete table ip usernetes-api
table ip usernetes-api {{
  chain output {{
    type nat hook output priority -150; policy accept;
    ip daddr {first} tcp dport {API_PORT} dnat to {address.hostname}:{address.port}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip daddr {address.hostname} tcp dport {address.port} masquerade
  }}
}}
"""


def _argv(config: Config, context: NodeContext, settings: Path) -> list[str]:
    return [
        "nsenter",
        f"--net={context.netns}",
        "env",
        f"NODE_NAME={config['name']}",
        str(context.binaries / COMPONENT),
        "--kube-subnet-mgr",
        f"--kubeconfig-file={KUBECONFIG}",
        f"--net-config-path={settings}",
        "--iface=tap0",
        "--ip-masq=false",
        "--iptables-forward-rules=false",
    ]


def _publish(config: Config, context: NodeContext) -> None:
    done = context.nr(["ip", "-json", "-4", "address", "show", "tap0"], b"")
    inner = json.loads(done.stdout)[0]["addr_info"][0]["local"]
    port = config["listenPort"]
    ports = RootlesskitPorts(f"{os.environ['ROOTLESSKIT_STATE_DIR']}/api.sock")
    ports.add(Forward("udp", port, inner, port, config["address"]))


def _routes(config: Config, context: NodeContext) -> None:
    """Make the routes; those that are not possible, as long as there is no overlay, are left out."""
    context.nr(["ip", "-force", "-batch", "-"], route_batch(config).encode())
