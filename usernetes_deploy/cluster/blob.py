"""A node's blob: everything it is told, put together from what each part of the plan knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usernetes_deploy.access.policies import rules
from usernetes_deploy.access.policies.document import Policy
from usernetes_deploy.cluster import manifests, proxies, registries
from usernetes_deploy.cluster.addressing import NetworkPlan, dns_ip
from usernetes_deploy.cluster.identities import Credentials
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.network import native
from usernetes_deploy.node.config import RUN, SCHEMA, NodeConfig


@dataclass(frozen=True)
class Software:
    """What the node runs: `root` is where the bundle lies on its host, `busybox` the image for small tasks of ours."""

    root: Path
    busybox: str


def node_config(
    member: Member,
    network: NetworkPlan,
    credentials: Credentials,
    spec: ClusterSpec,
    *,
    cluster_id: str,
    software: Software,
    objects: list[dict[str, Any]],
) -> NodeConfig:
    """The configuration of one node; `objects` are applied by the control plane when its API answers.

    Raises `SpecError` when a file that the spec names cannot be used.
    """
    place, control_plane = member.at, member.index == 0
    return NodeConfig(
        schema=SCHEMA,
        cluster=spec.name,
        cluster_id=cluster_id,
        name=member.name,
        number=member.index,
        control_plane=control_plane,
        node_dir=str(place.node_dir),
        bundle=str(software.root),
        durability=spec.durability,
        system_cpus=spec.system_cpus,
        cgroups=place.cgroups,
        devices=[{"name": item.name, "paths": list(item.paths), "count": item.count} for item in spec.devices],
        shared=spec.storage.shared,
        images=list(spec.images),
        labels={**spec.labels, **member.host.labels, "usernetes.dev/cluster": spec.name},
        taints=[taint(text) for text in spec.taints],
        extra_args=_extra_args(spec),
        proxies=proxies.of_nodes(spec.network),
        metrics=spec.metrics,
        audit=spec.access.audit,
        publishes=member.name in network.publishing,
        patience=float(spec.wait_seconds),
        eviction_disk=spec.eviction.disk,
        eviction_memory=spec.eviction.memory,
        files={
            **credentials.files[member.name],
            **registries.files(spec),
            **(_first_files(spec, software) if control_plane else {}),
        },
        manifests=objects if control_plane else [],
        **_addresses(member, network, spec),
    )


def first_objects(
    spec: ClusterSpec,
    network: NetworkPlan,
    authority: str,
    busybox: str,
    *,
    counted: bool,
    policies: Sequence[Policy] = (),
) -> list[dict[str, Any]]:
    """What a new cluster begins with; `authority` is the cluster's (PEM), `counted`: all nodes count what pods use.

    `policies` are the site's and the spec's; those that the API server enforces are objects too.
    """
    own = manifests.objects(
        spec, network.networks.node_address(0), dns_ip(spec.network), busybox, authority, counted=counted
    )
    return [*own, *native.manifests(network.addresses), *network.backend_objects, *rules.objects(policies)]


def _addresses(member: Member, network: NetworkPlan, spec: ClusterSpec) -> dict[str, Any]:
    """Where the node is, whom it meets there, and how it asks for names."""
    place = member.at
    return {
        "host_address": place.address,
        "interface": place.interface,
        "api_port": network.api_port,
        "api_url": network.api_inside,
        "api_outside": network.server,
        "node_ip": network.networks.node_address(member.index),
        "pod_cidr": network.networks.pod_cidr(member.index),
        "cluster_cidr": spec.network.pod_cidr,
        "service_cidr": spec.network.service_cidr,
        "dns_ip": dns_ip(spec.network),
        "dns_domain": spec.network.dns_domain,
        "nameservers": list(place.nameservers),
        "outer": place.outer,
        "network": {**network.parts[member.name], "privateKey": network.keys[member.name].private.reveal()},
    }


def _first_files(spec: ClusterSpec, software: Software) -> dict[str, str]:
    return {
        str(RUN / "helper-image"): software.busybox,
        str(RUN / "local-path.json"): manifests.local_path_config(spec),
    }


def taint(text: str) -> dict[str, str]:
    """A taint as the kubelet's configuration has it.

    >>> taint("gpu=yes:NoSchedule")
    {'key': 'gpu', 'value': 'yes', 'effect': 'NoSchedule'}
    """
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    return {"key": key, "value": value, "effect": effect}


def _extra_args(spec: ClusterSpec) -> dict[str, dict[str, str]]:
    return {
        "apiServer": dict(spec.extra_args.api_server),
        "controllerManager": dict(spec.extra_args.controller_manager),
        "scheduler": dict(spec.extra_args.scheduler),
        "kubelet": dict(spec.extra_args.kubelet),
    }
