"""What of a saved cluster's objects is taken over as it is, what is changed, and what is left behind.

Objects are taken byte by byte, with their identities (so tokens, owners and Secrets are valid); but Nodes and what
belongs to them are left behind, pods lose the node that they were on, and volumes get the node that has their data now.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from usernetes_deploy.cluster.savefile import Volume

OF_NODES = (
    *("/registry/minions/", "/registry/csinodes/", "/registry/leases/kube-node-lease/", "/registry/masterleases/"),
    *("/registry/leases/kube-system/apiserver-", "/registry/peerserverleases/", "/registry/volumeattachments/"),
)
PODS, VOLUMES = "/registry/pods/", "/registry/persistentvolumes/"
HOSTNAME = "kubernetes.io/hostname"
SELECTED = "local.path.provisioner/selected-node"
ENDED = ("Succeeded", "Failed")


def placed(volumes: Sequence[Volume], before: Sequence[str], now: Sequence[str]) -> dict[str, str]:
    """Which node each volume comes to: that of the same name or, where it is no more, of the same place in the row.

    >>> volume = Volume("pvc-1", "default/data", "node5", "pvc-1_default_data")
    >>> placed([volume], ["node4", "node5"], ["a", "b"])
    {'pvc-1': 'b'}
    """
    names = list(before)

    def node_of(volume: Volume) -> str:
        if volume.node in now:
            return volume.node
        return now[names.index(volume.node) % len(now) if volume.node in names else 0]

    return {volume.name: node_of(volume) for volume in volumes}


def objects(
    lines: Iterable[str],
    pods: Iterable[Mapping[str, Any]],
    volumes: Iterable[Mapping[str, Any]],
    nodes: Mapping[str, str],
) -> Iterator[str]:
    """The store's objects, a line each, that a resumed cluster begins with; `nodes`: volume -> the node it comes to."""
    changed: dict[str, bytes | None] = {key_of(PODS, pod): pod_again(pod) for pod in pods}
    changed |= {key_of(VOLUMES, item): volume_on(item, nodes[item["metadata"]["name"]])
                for item in volumes if item["metadata"]["name"] in nodes}  # fmt: skip
    for line in lines:
        key = base64.b64decode(json.loads(line)[0]).decode()
        if key.startswith(OF_NODES):
            continue
        value = changed.get(key, b"")
        if value is None:
            continue
        yield json.dumps([_text(key.encode()), _text(value)]) + "\n" if value else line


def pod_again(pod: Mapping[str, Any]) -> bytes | None:
    """A pod as it starts again: None for one that its controller makes anew, b"" for one that stays as it is.

    What nobody would make again begins anew, on whichever node; what has ended stays what it was.
    """
    metadata, status = pod["metadata"], pod.get("status", {})
    controlled = any(owner.get("controller") for owner in metadata.get("ownerReferences", ()))
    own = metadata["namespace"] == "kube-system" and metadata["name"].startswith(("helper-pod-", "usernetes-probe-"))
    if status.get("phase") in ENDED:
        return b""
    if controlled or own or "deletionTimestamp" in metadata:
        return None
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    fresh = {"phase": "Pending", **({"qosClass": status["qosClass"]} if "qosClass" in status else {})}
    return _json(pod, "v1", "Pod", spec=spec, status=fresh)


def volume_on(volume: Mapping[str, Any], node: str) -> bytes:
    """A volume whose data is on `node` now."""
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]}]}
    metadata = dict(volume["metadata"])
    notes = metadata.get("annotations", {})
    if SELECTED in notes:
        metadata["annotations"] = {**notes, SELECTED: node}
    spec = {**volume["spec"], "nodeAffinity": {"required": terms}}
    return _json({**volume, "metadata": metadata}, "v1", "PersistentVolume", spec=spec)


def key_of(prefix: str, item: Mapping[str, Any]) -> str:
    """Where the store has an object."""
    metadata = item["metadata"]
    return prefix + "/".join(filter(None, [metadata.get("namespace"), metadata["name"]]))


def local_volumes(items: Iterable[Mapping[str, Any]], root: str) -> list[Volume]:
    """Those of the cluster's volumes that lie on a node's disk, below `root`."""
    found = []
    for item in items:
        spec = item["spec"]
        path = (spec.get("hostPath") or spec.get("local") or {}).get("path", "")
        parent, _, folder = path.rpartition("/")
        node = node_of(spec)
        if parent == root and node:
            claim = spec.get("claimRef") or {}
            named = f"{claim.get('namespace', '')}/{claim.get('name', '')}"
            found.append(Volume(item["metadata"]["name"], named, node, folder))
    return found


def node_of(spec: Mapping[str, Any]) -> str:
    """The one node that a volume is on; "" where it is on none, or on several."""
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms", ())
    for term in terms:
        for expression in term.get("matchExpressions", ()):
            if expression["key"] == HOSTNAME and len(expression.get("values", ())) == 1:
                return str(expression["values"][0])
    return ""


def _json(item: Mapping[str, Any], version: str, kind: str, **parts: Any) -> bytes:
    """An object as the API server reads it from the store, too: JSON."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "resourceVersion"}
    return json.dumps({**item, "apiVersion": version, "kind": kind, **parts, "metadata": metadata}).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
