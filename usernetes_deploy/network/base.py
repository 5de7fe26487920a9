"""What a network backend is: a pure plan made by the driver, and verbs that a node carries out.

The driver calls `plan` once for all members; each node gets its part in its blob. The node's supervisor calls `check`
(nothing is changed), `apply` (idempotent) and `status` with a `NodeContext`. Nothing is to be undone: all of it ends
with the node's namespaces. Standard library only: nodes run this module.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from usernetes_deploy import threads
from usernetes_deploy.errors import CommandFailed, UsageError
from usernetes_deploy.threads import Begin

Config = Mapping[str, Any]

NODE_NETWORK = "10.64.0.0/16"
POD_NETWORK = "10.244.0.0/16"
POD_PREFIX = 24


@dataclass(frozen=True)
class Peer:
    """One node as its peers see it.

    `index` counts from 0. `address` and `port` are where the node's tunnel listens on the host's network, `mtu` is the
    MTU in bytes of that host's interface, `public_key` belongs to the tunnel ("" where the backend has none).
    """

    index: int
    name: str
    address: str
    port: int
    mtu: int = 1500
    public_key: str = ""


@dataclass(frozen=True)
class Networks:
    """The address ranges of a cluster: one address of `nodes` and one subnet of `pods` belong to each node."""

    nodes: str = NODE_NETWORK
    pods: str = POD_NETWORK
    pod_prefix: int = POD_PREFIX

    def node_address(self, index: int) -> str:
        """Return the address of node `index` inside the cluster.

        >>> Networks().node_address(0)
        '10.64.0.1'
        """
        network = ipaddress.ip_network(self.nodes)
        if index + 1 >= network.num_addresses - 1:
            raise UsageError(f"{self.nodes} has no address for node {index}", remedy="choose a larger node network")
        return str(network[index + 1])

    def pod_cidr(self, index: int) -> str:
        """Return the pods' subnet of node `index`.

        >>> Networks().pod_cidr(3)
        '10.244.3.0/24'
        """
        network = ipaddress.ip_network(self.pods)
        count = 1 << (self.pod_prefix - network.prefixlen)
        if index >= count:
            raise UsageError(f"{self.pods} has no /{self.pod_prefix} for node {index}", remedy="choose larger podCIDR")
        size = 1 << (network.max_prefixlen - self.pod_prefix)
        return f"{network[index * size]}/{self.pod_prefix}"


@dataclass
class NodeContext:
    """What a node lends its network backend.

    - `nr(argv, stdin)`: run a command in the node's network namespace Nr to its end.
    - `spawn(name, argv, stdin)`: have the supervisor run a component in N0 and restart it when it dies, with the bytes
      that `stdin()` returns at each start.
    - `restart(name, why)`: end that component; it starts again at once.
    - `begin(name, work)`: do `work` in a thread of its own, again after every exception, until it returns.
    - `folder`: the node's private directory; `run_folder`: a short path for sockets, gone with the node;
      `binaries`: the bundle's bin; `cni_conf`: the folder where containerd looks for CNI configuration.
    - `netns`: the path of Nr; `api_outside`: the API's URL on the hosts' network.
    - `memory`: the backend's own, for as long as the supervisor lives.
    """

    nr: Callable[[Sequence[str], bytes], subprocess.CompletedProcess[bytes]]
    spawn: Callable[[str, Sequence[str], Callable[[], bytes]], None]
    folder: Path
    run_folder: Path
    binaries: Path
    cni_conf: Path
    netns: str
    api_outside: str = ""
    memory: dict[str, Any] = field(default_factory=dict)
    restart: Callable[[str, str], None] = lambda _name, _why: None
    begin: Begin = threads.begin

    def must(self, argv: Sequence[str], script: str) -> None:
        """Run a command in Nr with `script` on its stdin; raises `CommandFailed`."""
        done = self.nr(argv, script.encode())
        if done.returncode:
            raise CommandFailed(argv, done.returncode, (done.stderr or done.stdout).decode(errors="replace"))

    def without(self, program: str) -> list[tuple[str, str]]:
        """The problem that the bundle has no such program, with its remedy; [] when it has."""
        path = self.binaries / program
        return [] if os.access(path, os.X_OK) else [(f"{path} is missing", "usernetes bundle build")]


class Backend(Protocol):
    """A way for the nodes of a cluster to reach each other's nodes and pods."""

    name: str
    # The user as which the backend's daemon asks the API; each node gets its kubeconfig. "" for backends without one.
    credential: str
    least_mtu: int  # bytes, of a host's interface

    def plan(self, members: Sequence[Peer], networks: Networks) -> Sequence[Config]:
        """Return each node's JSON-able configuration. Pure; raises `UsageError` for members that cannot work."""

    def objects(self, members: Sequence[Peer], networks: Networks) -> list[dict[str, Any]]:
        """Return the Kubernetes objects that this backend needs."""

    def check(self, config: Config, context: NodeContext) -> Sequence[tuple[str, str]]:
        """Return what this node lacks as ``[(what, remedy)]``; change nothing."""

    def apply(self, config: Config, context: NodeContext) -> None:
        """Make this node's part of the network. May be called again with another configuration."""

    def moved(self, config: Config, own: str, peers: Mapping[str, str]) -> Config | None:
        """Return `config` with this host's address and those of `peers` (by node name); None: it cannot follow."""

    def status(self, config: Config, context: NodeContext) -> Mapping[str, Any]:
        """Return counters for `usernetes status`, JSON-able."""


def write_conflist(folder: Path, name: str, subnet: str, mtu: int, data_folder: Path) -> None:
    """Write the CNI configuration that every backend uses on top of its links: bridge, host-local and portmap."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(bridge_conflist(name, subnet, mtu, str(data_folder)), indent=1)
    temporary = folder / f".{name}.tmp"
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(folder / f"10-{name}.conflist")


def bridge_conflist(name: str, subnet: str, mtu: int, data_folder: str) -> dict[str, Any]:
    """Return that configuration. Masquerading is not the plugin's: it would also hide pods from other nodes' pods.

    >>> bridge_conflist("mesh", "10.244.0.0/24", 1440, "/run/ipam")["plugins"][0]["mtu"]
    1440
    """
    return {
        "cniVersion": "1.0.0",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": subnet}]],
                    "dataDir": data_folder,
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
        ],
    }


def masquerade_rules(networks: Sequence[str], pods: str) -> str:
    """Return the nft script that hides pods behind their node, but only from what is outside the cluster.

    It replaces the table as a whole, so it can be loaded again and again.
    """
    return f"""\
add table ip usernetes
delete table ip usernetes
table ip usernetes {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {pods} ip daddr != {{ {", ".join(networks)} }} masquerade
  }}
}}
"""
