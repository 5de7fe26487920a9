"""The kubelet of a node: configuration and argv, set to be quiet at rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.node.config import (
    CIPHER_SUITES,
    CONTAINERD_SOCKET,
    KUBELET_CERTIFICATE,
    KUBERNETES,
    PKI,
    RUN,
    NodeConfig,
)

ROOT = Path("/var/lib/kubelet")

TIMER_SLACK = 0.005  # seconds; its volume manager looks for work every 100 ms


def configuration(config: NodeConfig, limits: Mapping[str, int] | None = None) -> dict[str, Any]:
    """KubeletConfiguration (JSON is YAML).

    Most of what a kubelet does at rest is to look again at what has not changed: those periods are long here, and what
    would make them matter (static pods from files, volume metrics) is either evented or off. `limits`: see `eviction`.
    """
    document: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(KUBELET_CERTIFICATE),
        "tlsPrivateKeyFile": str(PKI / "kubelet.key"),
        "tlsCipherSuites": list(CIPHER_SUITES),
        "address": config.node_ip,
        "healthzPort": 0,
        "clusterDNS": [config.dns_ip],
        "clusterDomain": config.dns_domain,
        "resolvConf": str(RUN / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "volumePluginDir": str(ROOT / "volumeplugins"),
        "featureGates": {"KubeletInUserNamespace": True, "EventedPLEG": True},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "protectKernelDefaults": False,
        "makeIPTablesUtilChains": False,
        "registerNode": True,
        "registerWithTaints": config.taints,
        "nodeLeaseDurationSeconds": 60,
        # How late the count of a device may be: the kubelet looks for changes no oftener than this.
        "nodeStatusUpdateFrequency": "5s" if config.devices else "30s",
        "nodeStatusReportFrequency": "5m0s",
        "syncFrequency": "1m0s",
        "fileCheckFrequency": "1m0s",
        **eviction(limits),
        "maxPods": 250,
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        "enableProfilingHandler": False,
        "enableDebugFlagsHandler": False,
        "logging": {"format": "text"},
    }
    if reserved := others(config, limits):
        document["systemReserved"] = reserved
    if config.cgroups == "none":
        document.update(cgroupsPerQOS=False, enforceNodeAllocatable=["none"])
    else:
        document.update(cgroupRoot="/", cgroupsPerQOS=True, enforceNodeAllocatable=["pods"])
        if config.pod_pids:
            document["podPidsLimit"] = config.pod_pids
    return document


def others(config: NodeConfig, limits: Mapping[str, int] | None = None) -> dict[str, str]:
    """What of the host is not the job's: the kubelet counts all of it, and offers the rest.

    Of memory it takes off itself what `limits` keeps free.
    """
    found = {}
    count = len(config.pod_cpus.split(",")) if config.pod_cpus else config.job_cpus
    if count:
        found["cpu"] = str(max(0, (os.cpu_count() or 1) - count))
    if config.job_memory:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        kept = (limits or {}).get("memory.available", 0)
        found["memory"] = str(max(0, total - config.job_memory - kept))
    return found


def eviction(limits: Mapping[str, int] | None) -> dict[str, Any]:
    """When images and pods have to go: below these `limits` in bytes, by the kubelet's name of what runs out.

    The node shares its disk with the host's other users, so nothing here is a percentage: a large disk that others
    have filled to 90 % is no reason to remove our images, which may be from archives that nobody can pull again. What
    counts is that some room is left, for the node and for the others. Below it unused images go first, then pods.
    A kubelet that watches measures every pod's files all the time, which costs half as much again at rest: without
    `limits` it does not. See `room`.
    """
    hard = {name: str(size) for name, size in (limits or {}).items()}
    return {
        "localStorageCapacityIsolation": bool(hard),  # else it sees no disk; see `storage`
        "volumeStatsAggPeriod": "10s" if hard else "-1s",
        "imageMinimumGCAge": "1h0m0s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": hard,
        "evictionPressureTransitionPeriod": "1m0s" if hard else "0s",
    }


def write_config(config: NodeConfig, limits: Mapping[str, int] | None = None) -> Path:
    """Write the configuration where the kubelet reads it; returns the path."""
    path = RUN / "kubelet.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(configuration(config, limits), indent=1))
    return path


def argv(config: NodeConfig) -> list[str]:
    """The kubelet's command line."""
    labels = ",".join(f"{key}={value}" for key, value in sorted(config.labels.items()))
    # By what it measured last it chooses who goes when memory runs out: a minute ago, the pod that fills it was small.
    housekeeping = 60 if config.cgroups == "none" else 10
    return [
        config.binary("kubelet"),
        f"--config={RUN / 'kubelet.json'}",
        f"--kubeconfig={KUBERNETES / 'kubelet.conf'}",
        f"--hostname-override={config.name}",
        f"--node-ip={config.node_ip}",
        f"--root-dir={ROOT}",
        f"--housekeeping-interval={housekeeping}s",
        *([f"--node-labels={labels}"] if labels else []),
        *config.further("kubelet"),
    ]


def storage(config: NodeConfig) -> dict[str, Any]:
    """A patch of the Node's status: the size of its disk, in bytes, as `ephemeral-storage`.

    A kubelet that does not police it does not tell it either (but keeps it once it is there), and pods that ask for
    some, as those of many charts, would fit nowhere.
    """
    disk = os.statvfs(config.root)
    size = {"ephemeral-storage": str(disk.f_blocks * disk.f_frsize)}
    return {"status": {"capacity": size, "allocatable": size}}


def environment() -> dict[str, str]:
    """Two threads of Go's scheduler are enough, and fewer wake-ups; the heap is kept small rather than fast."""
    return {"GOMAXPROCS": "1", "GOGC": "50"}
