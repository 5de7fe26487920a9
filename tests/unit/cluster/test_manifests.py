"""The cluster's own objects, as they go to the API."""

from __future__ import annotations

import base64
import json
from typing import Any

from usernetes_deploy.api import CLUSTER_SCOPED, path_of
from usernetes_deploy.cluster import manifests, spec


def made(*, counted: bool = True, **fields: Any) -> dict[tuple[str, str], dict[str, Any]]:
    found = manifests.objects(
        spec.load(fields), "10.64.0.1", "10.96.0.10", "localhost/busybox:1", "THE CA", counted=counted
    )
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def test_every_object_has_a_path_and_none_is_there_twice() -> None:
    found = manifests.objects(
        spec.load({"metrics": True, "storage": {"shared": "/s"}}), "10.64.0.1", "10.96.0.10", "b", "", counted=False
    )
    paths = [path_of(item) for item in found]
    assert len(set(paths)) == len(paths)
    for item in found:
        assert (item["kind"] in CLUSTER_SCOPED) == ("namespace" not in item["metadata"]), item


def test_no_placeholder_is_left() -> None:
    assert "$" not in json.dumps([item for item in made().values() if item["kind"] != "ConfigMap"])
    script = made()["ConfigMap", "local-path-config"]["data"]["setup"]
    assert '"$VOL_DIR"' in script


def test_dns_is_a_service_that_points_at_the_first_node() -> None:
    found = made()
    assert found["Service", "kube-dns"]["spec"]["clusterIP"] == "10.96.0.10"
    assert "selector" not in found["Service", "kube-dns"]["spec"]
    assert found["EndpointSlice", "kube-dns-usernetes"]["endpoints"][0]["addresses"] == ["10.64.0.1"]


def test_there_is_one_default_storage_class_and_a_shared_one_when_asked_for() -> None:
    assert ("StorageClass", "shared") not in made()
    found = made(storage={"shared": "/scratch"})
    defaults = [
        name for (kind, name), item in found.items()
        if kind == "StorageClass" and item["metadata"].get("annotations")
    ]  # fmt: skip
    assert defaults == ["local-path"]
    config = json.loads(manifests.local_path_config(spec.load({"storage": {"shared": "/scratch"}})))
    assert config["storageClassConfigs"]["shared"] == {"sharedFileSystemPath": manifests.SHARED}


def test_the_metrics_api_trusts_the_clusters_authority_and_is_never_unchecked() -> None:
    assert ("APIService", "v1beta1.metrics.k8s.io") not in made()
    service = made(metrics=True)["APIService", "v1beta1.metrics.k8s.io"]["spec"]
    assert base64.b64decode(service["caBundle"]) == b"THE CA"
    assert "insecureSkipTLSVerify" not in service


def test_nothing_scales_by_the_usage_of_pods_where_nobody_counts_it() -> None:
    role = ("ClusterRole", "system:controller:horizontal-pod-autoscaler")
    assert role not in made(metrics=True)
    assert role not in made(counted=False)  # there is no metrics-server to lead it astray
    found = made(metrics=True, counted=False)[role]
    assert "metrics.k8s.io" not in [group for rule in found["rules"] for group in rule["apiGroups"]]
    assert found["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "false"}
