"""Flags of Kubernetes' programs that a spec may not set, since they would break the product: each with the reason."""

from __future__ import annotations

from collections.abc import Mapping

_OWN = "the product sets it"
_AUTHENTICATION = "nobody may be let in without a certificate or token of this cluster"
_ADDRESSES = "nodes, certificates and the mesh are made for the addresses that the product chose"
_FILES = "keys, certificates and kubeconfigs are made by the product and live in the node's memory"
_LEASES = "one control plane needs no election, which costs writes at rest"

_API_SERVER_FILES = (
    "client-ca-file",
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "proxy-client-cert-file",
    "proxy-client-key-file",
    "requestheader-client-ca-file",
    "service-account-key-file",
    "service-account-signing-key-file",
    "tls-cert-file",
    "tls-private-key-file",
)
_CONTROLLER_FILES = (
    "kubeconfig",
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "client-ca-file",
    "root-ca-file",
    "cluster-signing-cert-file",
    "cluster-signing-key-file",
    "requestheader-client-ca-file",
    "service-account-private-key-file",
)
_SCHEDULER_FILES = (
    "kubeconfig",
    "authentication-kubeconfig",
    "authorization-kubeconfig",
)
_KUBELET_FILES = (
    "kubeconfig",
    "bootstrap-kubeconfig",
    "tls-cert-file",
    "tls-private-key-file",
    "client-ca-file",
    "cert-dir",
)

REFUSED: Mapping[str, Mapping[str, str]] = {
    "apiServer": {
        "anonymous-auth": _AUTHENTICATION,
        "authorization-mode": "grants and nodes rely on Node,RBAC",
        "authorization-config": "grants and nodes rely on Node,RBAC",
        "advertise-address": _ADDRESSES,
        "bind-address": _ADDRESSES,
        "secure-port": _ADDRESSES,
        "service-cluster-ip-range": "say network.serviceCIDR",
        "service-account-issuer": "tokens are made for the issuer of network.dnsDomain",
        "etcd-servers": _OWN,
        "enable-admission-plugins": "NodeRestriction has to stay; policies are objects (ValidatingAdmissionPolicy)",
        "disable-admission-plugins": "NodeRestriction keeps a node from changing others",
        **dict.fromkeys(
            _API_SERVER_FILES,
            _FILES,
        ),
    },
    "controllerManager": {
        "allocate-node-cidrs": "each node brings its pod CIDR",
        "cluster-cidr": "say network.podCIDR",
        "leader-elect": _LEASES,
        **dict.fromkeys(
            _CONTROLLER_FILES,
            _FILES,
        ),
    },
    "scheduler": {
        "leader-elect": _LEASES,
        **dict.fromkeys(_SCHEDULER_FILES, _FILES),
    },
    "kubelet": {
        "config": "its configuration is made by the product",
        "node-ip": _ADDRESSES,
        "hostname-override": "the node's certificate is made for its name",
        "root-dir": "the node's folder is cleaned by name",
        "node-labels": "say labels",
        "register-with-taints": "say taints",
        "container-runtime-endpoint": _OWN,
        "cgroup-root": "the node's cgroup is divided by the product",
        "cgroups-per-qos": "it depends on what was delegated to the node",
        "cgroup-driver": "it depends on what was delegated to the node",
        "anonymous-auth": _AUTHENTICATION,
        "read-only-port": _AUTHENTICATION,
        "address": _ADDRESSES,
        "port": _ADDRESSES,
        **dict.fromkeys(
            _KUBELET_FILES,
            _FILES,
        ),
    },
}
