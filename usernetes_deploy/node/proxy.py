"""kube-proxy as a process: nftables mode, in the node's own network namespace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from usernetes_deploy.node.config import KUBERNETES, RUN, NodeConfig


def configuration(config: NodeConfig) -> dict[str, Any]:
    """KubeProxyConfiguration; conntrack is left as it is, for its sysctls belong to the host."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": config.cluster_cidr,
        "clientConnection": {"kubeconfig": str(KUBERNETES / "kube-proxy.conf")},
        "hostnameOverride": config.name,
        "bindAddress": "0.0.0.0",  # noqa: S104  in the node's own network namespace
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{config.node_ip}/32"],
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "configSyncPeriod": "1h0m0s",
        "nftables": {"syncPeriod": "1h0m0s", "minSyncPeriod": "50ms", "masqueradeAll": False},
    }


def write_config(config: NodeConfig) -> Path:
    """Write the configuration; returns the path."""
    path = RUN / "kube-proxy.json"
    path.write_text(json.dumps(configuration(config), indent=1))
    return path


def argv(config: NodeConfig) -> list[str]:
    """kube-proxy's command line."""
    return [config.binary("kube-proxy"), f"--config={RUN / 'kube-proxy.json'}"]


def environment() -> dict[str, str]:
    """It works for milliseconds when a Service changes; two scheduler threads do."""
    return {"GOMAXPROCS": "1", "GOGC": "50"}
