"""The cluster's own objects: DNS, volumes, the runtime class `native`, and who may do what."""

from __future__ import annotations

import base64
import json
import string
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy.cluster.spec import ClusterSpec

PROVISIONER = "rancher.io/local-path"
VOLUMES = "/var/lib/usernetes-node/volumes"
SHARED = "/var/lib/usernetes-node/shared"


def objects(
    spec: ClusterSpec, control_plane_ip: str, dns_ip: str, busybox: str, ca: str, *, counted: bool
) -> list[dict[str, Any]]:
    """All objects to apply, in order; `ca` (PEM) is what metrics-server's certificate is signed by.

    `counted`: every node has delegated cgroups, so that what a pod uses is known.

    >>> found = objects(ClusterSpec(), "10.64.0.1", "10.96.0.10", "localhost/busybox:1.35.0", "", counted=True)
    >>> [item["kind"] for item in found][:2]
    ['ClusterRoleBinding', 'ClusterRole']
    """
    template = string.Template(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    text = template.substitute(control_plane_ip=control_plane_ip, dns_ip=dns_ip, busybox=busybox)
    found = [dict(document) for document in yaml.load_all(text, Loader=_LOADER)]
    if spec.storage.shared:
        found.append(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "shared"},
                "provisioner": PROVISIONER,
                "volumeBindingMode": "Immediate",
                "reclaimPolicy": "Delete",
            }
        )
    if spec.metrics:
        found += _metrics(control_plane_ip, ca)
        if not counted:
            found.append(_autoscaler_without_metrics())
    return found


def local_path_config(spec: ClusterSpec) -> str:
    """The provisioner's configuration (JSON): node-local folders, and the shared one under class `shared`."""
    local = {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [VOLUMES]}]}
    if not spec.storage.shared:
        return json.dumps(local)
    return json.dumps({"storageClassConfigs": {"local-path": local, "shared": {"sharedFileSystemPath": SHARED}}})


def _autoscaler_without_metrics() -> dict[str, Any]:
    """The built-in role of the HorizontalPodAutoscaler, less the usage of pods.

    Without cgroups of their own all pods seem to use what their host does, and whatever scales by that would grow to
    its maximum. Custom and external metrics are as true as ever.
    """

    def rule(groups: list[str], resources: list[str], verbs: list[str]) -> dict[str, Any]:
        return {"apiGroups": groups, "resources": resources, "verbs": verbs}

    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": "system:controller:horizontal-pod-autoscaler",
            # Else the API puts the rule back at each of its starts.
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"},
        },
        "rules": [
            rule(["autoscaling"], ["horizontalpodautoscalers"], ["get", "list", "watch"]),
            rule(["autoscaling"], ["horizontalpodautoscalers/status"], ["update"]),
            rule(["*"], ["*/scale"], ["get", "update"]),
            rule([""], ["pods"], ["list", "watch"]),
            rule(["custom.metrics.k8s.io", "external.metrics.k8s.io"], ["*"], ["get", "list", "watch"]),
            rule(["", "events.k8s.io"], ["events"], ["create", "patch", "update"]),
        ],
    }


def _metrics(address: str, ca: str) -> list[dict[str, Any]]:
    """metrics-server is a process on the first node; the API reaches it through the aggregation layer."""
    name = {"name": "metrics-server", "namespace": "kube-system"}
    reader = "usernetes:metrics-server"
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": reader}]

    def binding(kind: str, suffix: str, role: str, **metadata: str) -> dict[str, Any]:
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": f"{reader}{suffix}", **metadata},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role" if kind == "RoleBinding" else "ClusterRole",
                "name": role,
            },
            "subjects": subjects,
        }

    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": reader},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "usernetes:metrics-reader",
                "labels": {
                    f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in ("view", "edit", "admin")
                },
            },
            "rules": [
                {"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}
            ],
        },
        binding("ClusterRoleBinding", "", reader),
        binding("ClusterRoleBinding", ":delegator", "system:auth-delegator"),
        binding("RoleBinding", ":auth-reader", "extension-apiserver-authentication-reader", namespace="kube-system"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": name,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 4443}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "metrics-server-usernetes",
                "namespace": "kube-system",
                "labels": {
                    "kubernetes.io/service-name": "metrics-server",
                    "endpointslice.kubernetes.io/managed-by": "usernetes.dev",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": 4443, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {**name, "port": 443},
                "caBundle": base64.b64encode(ca.encode()).decode(),
            },
        },
    ]


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader reads the file in a tenth of the time
