"""WireGuard between the nodes: the plan for all of them, and how one node carries its part out.

Each node has one address on ``wg0`` and one subnet of pods; both belong to its WireGuard identity (AllowedIPs), so no
node can speak for another. The helper (bundle/go/mesh) keeps its UDP socket on the host's network and the interface in
the node's.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import Secret, UsageError
from usernetes_deploy.network.base import (
    Config,
    Networks,
    NodeContext,
    Peer,
    masquerade_rules,
    write_conflist,
)
from usernetes_deploy.network.mesh.uapi import Control, PeerState, to_hex
from usernetes_deploy.waiting import until

INTERFACE = "wg0"
COMPONENT = "mesh"
HELPER = "usernetes-mesh"
# Outer IPv4 + UDP + WireGuard's header and tag; IPv6 has 20 bytes more.
OVERHEAD_V4 = 20 + 8 + 32
OVERHEAD_V6 = 40 + 8 + 32
SMALLEST_MTU = 1280
START_TIMEOUT = 10.0


class Mesh:
    """The backend `mesh`.

    >>> plans = Mesh().plan([Peer(0, "a", "192.0.2.1", 4000), Peer(1, "b", "192.0.2.2", 4000)], Networks())
    >>> plans[0]["nodeAddress"], plans[0]["mtu"], plans[0]["peers"][0]["allowedIPs"]
    ('10.64.0.1', 1440, ['10.64.0.2/32', '10.244.1.0/24'])
    """

    name = "mesh"
    credential = ""
    least_mtu = SMALLEST_MTU + OVERHEAD_V4

    def plan(self, members: Sequence[Peer], networks: Networks) -> Sequence[Config]:
        """Return each node's part; its private key is added by `with_private_key`.

        The MTU is that of the smallest interface among all members: a packet must fit on both ends.
        """
        mtu = tunnel_mtu(members)
        peers = [_peer(member, networks) for member in members]
        return [
            {
                "backend": self.name,
                "interface": INTERFACE,
                "mtu": mtu,
                "address": member.address,
                "listenPort": member.port,
                "nodeAddress": networks.node_address(member.index),
                "podCIDR": networks.pod_cidr(member.index),
                "nodeNetwork": networks.nodes,
                "podNetwork": networks.pods,
                "peers": peers[:number] + peers[number + 1 :],
            }
            for number, member in enumerate(members)
        ]

    def objects(self, members: Sequence[Peer], networks: Networks) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return nothing: the mesh asks nothing of the API."""
        return []

    def check(self, config: Config, context: NodeContext) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """Return what this node lacks: the helper, or /dev/net/tun."""
        problems = context.without(HELPER)
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            problems.append(("/dev/net/tun is not accessible", "usernetes prepare --tags tun"))
        return problems

    def apply(self, config: Config, context: NodeContext) -> None:
        """Start the helper, or change the peers of the running one; then addresses, routes, masquerading and CNI."""
        socket = control_socket(context)
        control = Control(socket)
        before = context.memory.get("config")
        context.memory["config"] = dict(config)
        if before is None:
            argv = [str(context.binaries / HELPER), "--netns", context.netns, "--control", str(socket)]
            context.spawn(COMPONENT, argv, lambda: helper_input(context.memory["config"]))
            until(control.answers, START_TIMEOUT, "the mesh helper answers", pause=0.01)
        elif before["address"] != config["address"]:
            # Its socket is bound to an address that is gone. The new helper greets all peers.
            context.restart(COMPONENT, f"the host's address changed to {config['address']}")
        else:
            until(control.answers, START_TIMEOUT, "the mesh helper answers", pause=0.01)
            changes = peer_changes(control.peers(), config["peers"])
            if changes:
                control.set(changes)
        context.must(["ip", "-batch", "-"], address_batch(config))
        stale = _stale_routes(context, config)
        context.must(["ip", "-force", "-batch", "-"], route_batch(config, stale))
        networks = [config["podNetwork"], config["nodeNetwork"]]
        context.must(["nft", "-f", "-"], masquerade_rules(networks, config["podNetwork"]))
        write_conflist(context.cni_conf, self.name, config["podCIDR"], config["mtu"], context.folder / "ipam")

    def moved(self, config: Config, own: str, peers: Mapping[str, str]) -> Config:
        """Return `config` with this host's address and the endpoints of the named peers replaced."""
        changed = [
            {**peer, "endpoint": f"{peers[peer['name']]}:{peer['endpoint'].rpartition(':')[2]}"}
            if peer["name"] in peers
            else peer
            for peer in config["peers"]
        ]
        return {**config, "address": own, "peers": changed}

    def status(self, config: Config, context: NodeContext) -> Mapping[str, Any]:
        """Return MTU, port, and for each peer the age of its handshake in seconds and the bytes in both directions.

        `overflows` counts packets that the kernel dropped because the helper did not read its socket fast enough.
        """
        peers = Control(control_socket(context)).peers()
        names = {peer["publicKey"]: peer["name"] for peer in config["peers"]}
        return {
            "backend": self.name,
            "interface": config["interface"],
            "mtu": config["mtu"],
            "endpoint": f"{config['address']}:{config['listenPort']}",
            "overflows": udp_drops(Path("/proc/net/udp").read_text(), int(config["listenPort"])),
            "peers": sorted(
                (
                    {
                        "name": names.get(peer.public_key, "?"),
                        "endpoint": peer.endpoint,
                        "handshakeAge": round(time.time() - peer.handshake, 1) if peer.handshake else None,
                        "received": peer.received,
                        "sent": peer.sent,
                    }
                    for peer in peers
                ),
                key=lambda peer: str(peer["name"]),
            ),
        }


def with_private_key(config: Config, key: Secret) -> dict[str, Any]:
    """Return `config` with the node's private key; what comes out is as secret as the key."""
    return {**config, "privateKey": key.reveal()}


def tunnel_mtu(members: Sequence[Peer]) -> int:
    """Return the MTU of the tunnel in bytes: the smallest host interface less WireGuard's headers."""
    smallest = min(members, key=lambda member: member.mtu)
    overhead = OVERHEAD_V6 if ":" in smallest.address else OVERHEAD_V4
    if smallest.mtu - overhead < SMALLEST_MTU:
        raise UsageError(
            f"the interface of {smallest.address} has MTU {smallest.mtu}; "
            f"the mesh needs at least {SMALLEST_MTU + overhead}",
            node=smallest.name,
            remedy="choose another interface with --interface",
        )
    return min(smallest.mtu - overhead, 65535 - overhead)


def helper_input(config: Config) -> bytes:
    """Return the JSON that the helper reads from its standard input."""
    names = ("interface", "mtu", "address", "listenPort", "privateKey", "peers", "greet")
    return json.dumps({name: config[name] for name in names if name in config}).encode()


def control_socket(context: NodeContext) -> Path:
    """Return the path of the helper's control socket."""
    return context.run_folder / "mesh.sock"


def peer_changes(present: Sequence[PeerState], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the UAPI lines that turn the peers `present` into those `wanted`; [] when they are the same."""
    lines = []
    known = {peer.public_key: peer for peer in present}
    for key in known.keys() - {peer["publicKey"] for peer in wanted}:
        lines += [f"public_key={to_hex(key)}", "remove=true"]
    for peer in wanted:
        state = known.get(peer["publicKey"])
        if state and state.endpoint == peer["endpoint"] and set(state.allowed_ips) == set(peer["allowedIPs"]):
            continue
        if state and state.endpoint != peer["endpoint"]:
            # With the old session: a peer that moved has forgotten it, and we would find out only after 15 seconds.
            lines += [f"public_key={to_hex(peer['publicKey'])}", "remove=true"]
        lines += [f"public_key={to_hex(peer['publicKey'])}", f"endpoint={peer['endpoint']}"]
        lines += ["replace_allowed_ips=true", *(f"allowed_ip={allowed}" for allowed in peer["allowedIPs"])]
    return lines


def address_batch(config: Config) -> str:
    """Return the commands for ``ip -batch`` that give the interface its address."""
    interface = config["interface"]
    return (
        "link set lo up\n"
        f"address replace {config['nodeAddress']}/32 dev {interface}\n"
        f"link set {interface} mtu {config['mtu']} txqueuelen 1000 up\n"
    )


def route_batch(config: Config, stale: Sequence[str] = ()) -> str:
    """Return the commands for ``ip -batch`` that make the routes to all peers: one process, however many peers."""
    end = f"dev {config['interface']} src {config['nodeAddress']}"
    wanted = [allowed for peer in config["peers"] for allowed in peer["allowedIPs"]]
    return "".join(f"route replace {prefix} {end}\n" for prefix in wanted) + "".join(
        f"route delete {prefix} dev {config['interface']}\n" for prefix in stale
    )


def udp_drops(text: str, port: int) -> int:
    """Return the drops of the UDP sockets on `port`, from the text of /proc/net/udp."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if len(row) > 1 and row[1].endswith(f":{port:04X}"))


def _stale_routes(context: NodeContext, config: Config) -> list[str]:
    done = context.nr(["ip", "-4", "route", "show", "dev", config["interface"]], b"")
    wanted = {allowed.replace("/32", "") for peer in config["peers"] for allowed in peer["allowedIPs"]}
    present = [line.split()[0] for line in done.stdout.decode().splitlines() if line.strip()]
    return [prefix for prefix in present if prefix not in wanted]


def _peer(member: Peer, networks: Networks) -> dict[str, Any]:
    host = f"[{member.address}]" if ":" in member.address else member.address
    return {
        "name": member.name,
        "publicKey": member.public_key,
        "endpoint": f"{host}:{member.port}",
        "allowedIPs": [f"{networks.node_address(member.index)}/32", networks.pod_cidr(member.index)],
    }
