"""Make every key, certificate, address and configuration of the cluster, in memory."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster import manifests
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.base import Host
from usernetes_deploy.network import backend_named, native
from usernetes_deploy.network.base import Member, Networks
from usernetes_deploy.network.keys import make_key_pair
from usernetes_deploy.node.config import API_PORT, KUBERNETES, RUN, SCHEMA, NodeConfig
from usernetes_deploy.phases.stage_bundle import staged


class MakeIdentities:
    """Fills in `nodes`, and writes the kubeconfig and the authorities to the state directory (0600)."""

    title = "make identities"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Nothing leaves the driver yet."""
        spec = up.spec
        identities = Identities.from_secret(up.state.read_secret("secrets.json")) if up.existing else Identities.make()
        hosts = [host for host in up.hosts if host.name in up.places]
        keys = {host.name: make_key_pair() for host in hosts}
        up.public_keys = {name: pair.public for name, pair in keys.items()}
        networks = networks_of(spec)
        members = [*(recorded_member(up, node) for node in up.existing), *(new_member(up, host) for host in hosts)]
        backend = backend_named(spec.network.backend)
        plans = backend.plan(members, networks)
        part_of = {member.name: dict(plan) for member, plan in zip(members, plans, strict=True)}
        up.peers = {str(node["name"]): network_part(spec, part_of[str(node["name"])]) for node in up.existing}
        member_of = {member.name: member for member in members}
        addresses = {str(node["name"]): str(node["address"]) for node in up.existing}
        addresses |= {name: place.address for name, place in up.places.items()}
        own_objects = [*native.manifests(addresses), *backend.objects(members, networks)]
        up.objects = [native.hosts(addresses), *backend.objects(members, networks)]
        publishing = {str(node["address"]) for node in up.existing}
        outside = up.state.server() if up.existing else server_of(up)
        api_port = int(outside.rpartition(":")[2])
        proxy = identities.proxy_credential()
        busybox, _ = up.bundle.image("busybox")
        for host in hosts:
            place, member = up.places[host.name], member_of[host.name]
            node_ip = networks.node_address(member.index)
            inside = f"https://{networks.node_address(0)}:{API_PORT}"
            files = identities.node_files(host.name, node_ip, proxy, spec.name, inside)
            control_plane = member.index == 0
            if control_plane:
                api_names = server_names(spec, networks, host.name, place.address)
                files |= identities.control_plane_files(spec.name, inside, api_names, node_ip, metrics=spec.metrics)
                files[str(RUN / "helper-image")] = busybox
                files[str(RUN / "local-path.json")] = manifests.local_path_config(spec)
            if backend.credential:
                files[f"{KUBERNETES}/{backend.name}.conf"] = identities.credential(
                    spec.name, inside, backend.credential
                )
            publishes = place.address not in publishing
            publishing.add(place.address)
            up.nodes.append(
                NodeConfig(
                    schema=SCHEMA,
                    cluster=spec.name,
                    cluster_id=up.cluster_id,
                    name=host.name,
                    number=member.index,
                    control_plane=control_plane,
                    node_dir=str(place.node_dir),
                    bundle=str(staged(up, host)),
                    host_address=place.address,
                    interface=place.interface,
                    api_port=api_port,
                    api_url=inside,
                    api_outside=outside,
                    node_ip=node_ip,
                    pod_cidr=networks.pod_cidr(member.index),
                    cluster_cidr=spec.network.pod_cidr,
                    service_cidr=spec.network.service_cidr,
                    dns_ip=dns_ip(spec),
                    dns_domain=spec.network.dns_domain,
                    nameservers=list(place.nameservers),
                    outer=place.outer,
                    network={
                        **network_part(spec, part_of[host.name]),
                        "privateKey": keys[host.name].private.reveal(),
                    },
                    files=files,
                    manifests=(
                        [
                            *manifests.objects(
                                spec,
                                node_ip,
                                dns_ip(spec),
                                busybox,
                                identities.ca.pair.certificate,
                                counted=all(place.cgroups == "delegated" for place in up.places.values()),
                            ),
                            *own_objects,
                        ]
                        if control_plane
                        else []
                    ),
                    durability=spec.durability,
                    system_cpus=spec.system_cpus,
                    cgroups=place.cgroups,
                    devices=[
                        {"name": device.name, "paths": list(device.paths), "count": device.count}
                        for device in spec.devices
                    ],
                    shared=spec.storage.shared,
                    images=list(spec.images),
                    labels={"usernetes.dev/cluster": spec.name, **host.labels},
                    metrics=spec.metrics,
                    registries=registries_of(spec),
                    publishes=publishes,
                    patience=float(spec.wait_seconds),
                )
            )
        if up.existing:
            return f"{len(up.nodes)} new nodes"
        up.state.write_secret("kubeconfig", identities.administrator(spec.name, outside))
        up.state.write_secret("secrets.json", identities.to_secret())
        return f"{len(up.nodes)} nodes, {sum(len(node.files) for node in up.nodes)} files"

    def undo(self, up: BringUp) -> None:
        """The state directory goes as a whole."""
        up.nodes.clear()


def networks_of(spec: ClusterSpec) -> Networks:
    """The address ranges; a pod network too small for /24s is cut finer.

    >>> networks_of(ClusterSpec()).pod_cidr(2)
    '10.244.2.0/24'
    """
    return Networks(nodes=spec.network.node_cidr, pods=spec.network.pod_cidr)


def dns_ip(spec: ClusterSpec) -> str:
    """The tenth address of the service network, as everywhere.

    >>> dns_ip(ClusterSpec())
    '10.96.0.10'
    """
    return str(ipaddress.IPv4Network(spec.network.service_cidr)[10])


def server_names(spec: ClusterSpec, networks: Networks, host: str, address: str) -> list[str]:
    """What the API's certificate is valid for: its names inside the cluster, and the first host's outside."""
    domain = spec.network.dns_domain
    return [
        "kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}",
        str(ipaddress.IPv4Network(spec.network.service_cidr)[1]), networks.node_address(0),
        "localhost", "127.0.0.1", address, host, *([socket.gethostname()] if spec.launcher == "local" else []),
    ]  # fmt: skip


def network_part(spec: ClusterSpec, plan: dict[str, Any]) -> dict[str, Any]:
    """The backend's part of a node's blob, with the MTU that the spec asks for."""
    return {**plan, "mtu": spec.network.mtu} if spec.network.mtu else plan


def registries_of(spec: ClusterSpec) -> list[dict[str, str]]:
    """What containerd is told about registries; a CA's file is read here, for a node may not have it.

    Raises `UsageError` when it cannot be read.
    """
    found = []
    for registry in spec.registries:
        try:
            ca = Path(registry.ca).read_text(encoding="ascii") if registry.ca else ""
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(str(error), tried=f"read the CA of registry {registry.name}") from error
        found.append({"name": registry.name, "url": registry.url or f"https://{registry.name}", "ca": ca})
    return found


def peers_without(up: BringUp) -> dict[str, Mapping[str, Any]]:
    """The existing nodes' part of the network as it is without any other node, by node name."""
    members = [recorded_member(up, node) for node in up.existing]
    plans = backend_named(up.spec.network.backend).plan(members, networks_of(up.spec))
    return {member.name: network_part(up.spec, dict(plan)) for member, plan in zip(members, plans, strict=True)}


def new_member(up: BringUp, host: Host) -> Member:
    """A node that is to be, as its peers will see it."""
    place = up.places[host.name]
    return Member(
        index=up.indices[host.name],
        name=host.name,
        address=meeting_address(up, place.address),
        port=place.mesh_port,
        mtu=place.mtu,
        public_key=up.public_keys[host.name],
    )


def recorded_member(up: BringUp, node: Mapping[str, Any]) -> Member:
    """A node that is there, from cluster.json."""
    return Member(
        index=int(node["index"]),
        name=str(node["name"]),
        address=meeting_address(up, str(node["address"])),
        port=int(node["meshPort"]),
        mtu=int(node["mtu"]),
        public_key=str(node["publicKey"]),
    )


def meeting_address(up: BringUp, address: str) -> str:
    """Nodes of one host meet on its loopback: nothing of the mesh is to be seen from outside."""
    return "127.0.0.1" if up.launcher.name == "local" else address


def server_of(up: BringUp) -> str:
    """The API's address on the hosts' network."""
    first = up.places[str(up.control_plane)]
    return f"https://{first.address}:{first.api_port}"
