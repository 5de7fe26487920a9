"""What flannel wants of the cluster: nodes with a pod CIDR and a public address, and the right to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USER = "usernetes:flannel"
PUBLIC_ADDRESS = "flannel.alpha.coreos.com/public-ip-overwrite"


def node(name: str, pod_cidr: str, address: str) -> dict[str, Any]:
    """Return a Node as it must be before flannel sees it; its kubelet finds it there and fills in the rest."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {PUBLIC_ADDRESS: address}},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
    }


def rights() -> list[dict[str, Any]]:
    """Return the role that flannel's own deployment has, bound to our credential."""
    rules: list[Mapping[str, Any]] = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ]
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": USER}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": USER},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        },
    ]


def net_conf(pods: str, port: int, mtu: int) -> dict[str, Any]:
    """Return net-conf.json; `mtu` is that of the host's interface in bytes, VXLAN takes 50 of it."""
    return {
        "Network": pods,
        "EnableNFTables": True,
        "Backend": {"Type": "vxlan", "VNI": 1, "Port": port, "MTU": mtu},
    }
