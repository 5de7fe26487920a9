"""What a resumed cluster begins with: objects as they were, without the nodes of before."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from usernetes_deploy.cluster.resumed import local_volumes, objects, pod_again
from usernetes_deploy.cluster.savefile import Volume

ROOT = "/var/lib/usernetes-node/volumes"


def line(key: str, value: bytes = b"k8s\x00bytes") -> str:
    return json.dumps([base64.b64encode(text).decode() for text in (key.encode(), value)]) + "\n"


def content(lines: list[str]) -> dict[str, bytes]:
    pairs = [json.loads(text) for text in lines]
    return {base64.b64decode(key).decode(): base64.b64decode(value) for key, value in pairs}


def pod(name: str = "web-1", **changes: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": "u1",
        "resourceVersion": "7",
        **changes.pop("metadata", {}),
    }
    status = {"phase": "Running", "qosClass": "Burstable", "podIP": "10.244.0.4", **changes.pop("status", {})}
    return {"metadata": metadata, "spec": {"nodeName": "node1", "containers": []}, "status": status, **changes}


def volume(node: str = "node1", name: str = "pvc-1", **spec: Any) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "metadata": {
            "name": name,
            "uid": "u2",
            "resourceVersion": "8",
            "annotations": {"local.path.provisioner/selected-node": node, "mine": "x"},
        },
        "spec": {
            "hostPath": {"path": f"{ROOT}/{name}_default_data"},
            "claimRef": {"namespace": "default", "name": "data", "uid": "u3"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            **spec,
        },
    }


def test_nodes_and_what_is_theirs_stay_behind_and_all_else_comes_byte_by_byte() -> None:
    behind = ["/registry/minions/node0", "/registry/csinodes/node0", "/registry/leases/kube-node-lease/node0"]
    kept = ["/registry/secrets/default/a", "/registry/leases/jobs/leader", "/registry/services/specs/default/web"]
    kept += ["/registry/endpointslices/default/kubernetes-dashboard", "/registry/example.org/things/default/one"]
    found = list(objects([line(key) for key in behind + kept], [], [], {}))
    assert found == [line(key) for key in kept]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}}, "left"),
        ({"metadata": {"ownerReferences": [{"kind": "Node", "controller": True}]}}, "left"),
        ({"metadata": {"ownerReferences": [{"kind": "Thing"}]}}, "again"),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, "left"),
        ({"metadata": {"namespace": "kube-system", "name": "helper-pod-create-pvc-1"}}, "left"),
        ({"metadata": {"ownerReferences": [{"controller": True}]}, "status": {"phase": "Succeeded"}}, "as it is"),
        ({"status": {"phase": "Failed"}}, "as it is"),
        ({}, "again"),
        ({"status": {"phase": "Pending"}}, "again"),
    ],
)
def test_a_pod_that_nobody_would_make_again_begins_anew(changes: dict[str, Any], what: str) -> None:
    found = pod_again(pod(**changes))
    assert {None: "left", b"": "as it is"}.get(found, "again") == what
    if what == "again" and found:
        document = json.loads(found)
        assert (document["apiVersion"], document["kind"], document["metadata"]["uid"]) == ("v1", "Pod", "u1")
        assert "nodeName" not in document["spec"]
        assert document["status"] == {"phase": "Pending", "qosClass": "Burstable"}
        assert "resourceVersion" not in document["metadata"]


def test_a_volume_gets_the_node_that_has_its_data_now_and_others_stay_as_they_are() -> None:
    keys = [f"/registry/persistentvolumes/{name}" for name in ("pvc-1", "nfs-1")]
    found = content(list(objects([line(key) for key in keys], [], [volume(), volume(name="nfs-1")], {"pvc-1": "east"})))
    assert found[keys[1]] == b"k8s\x00bytes"
    moved = json.loads(found[keys[0]])
    assert moved["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == [
        "east"
    ]
    assert moved["metadata"]["annotations"] == {"local.path.provisioner/selected-node": "east", "mine": "x"}
    assert moved["spec"]["claimRef"]["uid"] == "u3"


def test_pods_are_found_by_their_key() -> None:
    controlled = pod("a", metadata={"name": "a", "ownerReferences": [{"controller": True}]})
    lines = [line("/registry/pods/default/a"), line("/registry/pods/default/b"), line("/registry/pods/other/a")]
    found = content(list(objects(lines, [controlled, pod("b", metadata={"name": "b"})], [], {})))
    assert set(found) == {"/registry/pods/default/b", "/registry/pods/other/a"}
    assert found["/registry/pods/other/a"] == b"k8s\x00bytes"


def test_only_volumes_on_the_disk_of_one_node_are_the_nodes() -> None:
    shared = volume(name="shared-1", nodeAffinity=None)
    elsewhere = volume(name="mine", hostPath={"path": "/data/mine"})
    other = {"metadata": {"name": "nfs"}, "spec": {"nfs": {"path": "/x"}}}
    assert local_volumes([volume(), shared, elsewhere, other], ROOT) == [
        Volume("pvc-1", "default/data", "node1", "pvc-1_default_data")
    ]
