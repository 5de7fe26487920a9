"""What kubeadm is told, and what its first pods are."""

from __future__ import annotations

from typing import Any

import yaml

from kubeadm.images import REPOSITORY, tag
from usernetes_deploy.bundle import Bundle
from usernetes_deploy.node.config import API_PORT, CONTAINERD_SOCKET, RUN, NodeConfig

CRI = f"unix://{CONTAINERD_SOCKET}"
PLUGINS = "/var/lib/kubelet/volumeplugins"  # the default lies in /usr, which is not writable for a user
PROBE = "kubeadm-probe"


def init(config: NodeConfig, bundle: Bundle) -> str:
    """The documents of ``kubeadm init``: kubeadm's defaults but for addresses, image names and the user namespace."""
    kubelet: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [config.dns_ip],
        "clusterDomain": config.dns_domain,
        "resolvConf": str(RUN / "resolv.conf"),
        "featureGates": {"KubeletInUserNamespace": True},
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "volumePluginDir": PLUGINS,
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
    }
    if config.cgroups == "none":
        kubelet |= {"cgroupsPerQOS": False, "enforceNodeAllocatable": ["none"]}
    documents = [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": config.node_ip, "bindPort": API_PORT},
            "nodeRegistration": {"name": config.name, "criSocket": CRI},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": tag(bundle, "kube-apiserver"),
            "imageRepository": REPOSITORY,
            "networking": {"serviceSubnet": config.service_cidr, "dnsDomain": config.dns_domain},
            "apiServer": {"certSANs": ["127.0.0.1", "localhost", config.host_address]},
            "controllerManager": {"extraArgs": [{"name": "flex-volume-plugin-dir", "value": PLUGINS}]},
            "etcd": {"local": {"imageTag": tag(bundle, "etcd")}},
            "dns": {"imageTag": tag(bundle, "coredns")},
        },
        kubelet,
    ]
    return yaml.safe_dump_all(documents)


def probe(image: str, domain: str) -> dict[str, Any]:
    """One pod a node, ready when the cluster's DNS has answered it: less than `usernetes up` asks of its own."""
    script = f"until nslookup kubernetes.default.svc.{domain}.; do usleep 100000; done; touch /tmp/ready; sleep 3600"
    labels = {"app": PROBE}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": PROBE, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "tolerations": [{"operator": "Exists"}],
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "probe",
                            "image": image,
                            "imagePullPolicy": "Never",
                            "command": ["/bin/sh", "-c", script],
                            "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
                        }
                    ],
                },
            },
        },
    }
