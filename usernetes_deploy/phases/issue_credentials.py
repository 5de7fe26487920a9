"""Make every key and certificate of the nodes that come, and with them each node's configuration, in memory."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from usernetes_deploy.access.policies.site import in_force
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster import pki
from usernetes_deploy.cluster.addressing import api_inside, server_names
from usernetes_deploy.cluster.blob import Software, first_objects, node_config
from usernetes_deploy.cluster.files import read_kubeconfig
from usernetes_deploy.cluster.identities import Credentials, Identities
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.cluster.pki import KeyPair
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network import backend_named
from usernetes_deploy.network.base import Networks
from usernetes_deploy.node.config import KUBELET_CERTIFICATE, KUBERNETES, NodeConfig
from usernetes_deploy.phases.stage_bundle import staged


class IssueCredentials:
    """Fills in `nodes`, and writes a new cluster's kubeconfig and authorities to the state directory (0600)."""

    title = "issue credentials"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Nothing leaves the driver yet."""
        identities = up.identities or identities_of(up)
        credentials = issue(identities, up.newcomers, up.plan.networks, up.spec)
        up.nodes = configurations(up, credentials)
        for name, files in credentials.files.items():
            up.members.update(name, certificates_end=ends(files))
        if not up.others:
            if not speaks_for(up.state.kubeconfig, identities, up.plan.server):
                up.state.write_secret("kubeconfig", identities.administrator(up.spec.name, up.plan.server))
            up.state.write_secret("secrets.json", identities.to_secret())
        return f"{len(up.nodes)} nodes, {sum(len(files) for files in credentials.files.values())} files"

    def undo(self, up: BringUp) -> None:
        """The state directory goes as a whole."""


def identities_of(up: BringUp) -> Identities:
    """Those of the cluster that grows, or new ones."""
    return Identities.from_secret(up.state.read_secret("secrets.json")) if up.others else Identities.make()


def speaks_for(kubeconfig: Path, identities: Identities, server: str) -> bool:
    """Whether a kubeconfig that is there already still opens the cluster, so that copies of it do as well."""
    try:
        cluster, user = read_kubeconfig(kubeconfig)
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        client = base64.b64decode(user["client-certificate-data"]).decode()
        valid = pki.ends(client) > datetime.now(UTC)
    except (UsernetesError, KeyError, ValueError):
        return False
    return valid and cluster["server"] == server and authority == identities.ca.pair.certificate


def issue(identities: Identities, newcomers: list[Member], networks: Networks, spec: ClusterSpec) -> Credentials:
    """The files of every node that comes, by node name."""
    proxy = identities.proxy_credential()
    files = {member.name: files_of(identities, member, networks, spec, proxy) for member in newcomers}
    return Credentials(files, identities.ca.pair.certificate)


def ends(files: Mapping[str, str]) -> str:
    """When a node's certificates end (ISO 8601): all of them are issued at the same time."""
    return pki.ends(files[str(KUBELET_CERTIFICATE)]).isoformat()


def files_of(
    identities: Identities, member: Member, networks: Networks, spec: ClusterSpec, proxy: KeyPair
) -> dict[str, str]:
    """One node's: path -> content. Only the first node holds what signs, and what speaks for the control plane."""
    inside, node_ip = api_inside(networks), networks.node_address(member.index)
    files = identities.node_files(member.name, node_ip, proxy, spec.name, inside)
    if member.index == 0:
        names = server_names(spec, networks, member.name, member.at.address)
        files |= identities.control_plane_files(spec.name, inside, names, node_ip, metrics=spec.metrics)
    backend = backend_named(spec.network.backend)
    if backend.credential:
        files[f"{KUBERNETES}/{backend.name}.conf"] = identities.credential(spec.name, inside, backend.credential)
    return files


def configurations(up: BringUp, credentials: Credentials) -> list[NodeConfig]:
    """What each node that comes will be told."""
    busybox, _ = up.bundle.image("busybox")
    counted = all(member.at.cgroups == "delegated" for member in up.newcomers)
    objects = []
    if not up.others:
        authority, policies = credentials.authority, in_force(up.spec.policies)
        objects = first_objects(up.spec, up.plan, authority, busybox, counted=counted, policies=policies)
    return [
        node_config(
            member,
            up.plan,
            credentials,
            up.spec,
            cluster_id=up.record.id,
            software=Software(staged(up, member.host), busybox),
            objects=objects,
        )
        for member in up.newcomers
    ]
