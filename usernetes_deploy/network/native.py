"""The Kubernetes side of native pods: their RuntimeClass, and admission rules that no webhook has to serve.

- A pod with RuntimeClass ``native`` and without ``hostNetwork: true`` is refused with the reason.
- A native pod is told its host's real address when it is bound to a node: annotation ``usernetes.dev/host-address``,
  readable through the downward API. (``status.podIP`` is the node's address inside the cluster.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RUNTIME_CLASS = "native"
ADDRESS_ANNOTATION = "usernetes.dev/host-address"
CONFIG_MAP = "usernetes-hosts"
NAMESPACE = "kube-system"
REFUSED = (
    "runtimeClassName native gives the pod the host's own network: set spec.hostNetwork: true, "
    "or leave runtimeClassName out for the cluster's pod network"
)


def manifests(host_addresses: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the objects to apply; `host_addresses` maps a node's name to its host's real address.

    >>> [item["kind"] for item in manifests({"node0": "192.0.2.1"})][:2]
    ['RuntimeClass', 'ConfigMap']
    """
    return [_runtime_class(), hosts(host_addresses), *_refuse_without_host_network(), *_tell_address()]


def hosts(host_addresses: Mapping[str, str]) -> dict[str, Any]:
    """Return the ConfigMap with the hosts' real addresses; apply it again when nodes come or go."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
        "data": dict(sorted(host_addresses.items())),
    }


def _runtime_class() -> dict[str, Any]:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": RUNTIME_CLASS},
        "handler": RUNTIME_CLASS,
    }


def _refuse_without_host_network() -> list[dict[str, Any]]:
    name = "usernetes-native"
    is_native = f"has(object.spec.runtimeClassName) && object.spec.runtimeClassName == '{RUNTIME_CLASS}'"
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [_rule("pods")]},
                "matchConditions": [{"name": "native", "expression": is_native}],
                "validations": [
                    {
                        "expression": "has(object.spec.hostNetwork) && object.spec.hostNetwork",
                        "message": REFUSED,
                        "reason": "Invalid",
                    }
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def _tell_address() -> list[dict[str, Any]]:
    """A binding's annotations become its pod's: there the node is known, and the kubelet has not seen the pod yet."""
    name = "usernetes-host-address"
    apply = (
        "Object{metadata: Object.metadata{annotations: "
        f"{{'{ADDRESS_ANNOTATION}': params.data[object.target.name]}}}}}}"
    )
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Ignore",
                "reinvocationPolicy": "Never",
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "matchConstraints": {"resourceRules": [_rule("pods/binding")]},
                "matchConditions": [{"name": "known", "expression": "object.target.name != ''"}],
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "paramRef": {
                    "name": CONFIG_MAP,
                    "namespace": NAMESPACE,
                    "parameterNotFoundAction": "Allow",
                },
            },
        },
    ]


def _rule(resource: str) -> dict[str, Any]:
    return {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}
