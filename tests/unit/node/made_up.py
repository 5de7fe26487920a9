"""A node's configuration for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from usernetes_deploy.node.config import SCHEMA, NodeConfig


def config(root: Path, **changes: Any) -> NodeConfig:
    """The first node of a cluster, in `root`."""
    return NodeConfig(
        schema=SCHEMA, cluster="demo", cluster_id="abcd", name="node0", number=0, control_plane=True,
        node_dir=str(root), bundle="/opt/bundle", host_address="192.0.2.2", interface="eth0", api_port=23456,
        api_url="https://10.64.0.1:6443", api_outside="https://192.0.2.2:23456", node_ip="10.64.0.1",
        pod_cidr="10.244.0.0/24", cluster_cidr="10.244.0.0/16", service_cidr="10.96.0.0/16", dns_ip="10.96.0.10",
        dns_domain="cluster.local", nameservers=["192.0.2.53"], outer="slirp4netns",
        network={"backend": "mesh", "privateKey": "the-mesh-key"}, files={"/etc/kubernetes/pki/ca.key": "the-ca-key"},
        manifests=[], durability="disk", system_cpus=None, cgroups="none", devices=[], shared=None, images=[],
        labels={"usernetes.dev/cluster": "demo"}, metrics=False, publishes=True, taints=[],
        extra_args={}, proxies={},
    )._replace(**changes)  # fmt: skip
