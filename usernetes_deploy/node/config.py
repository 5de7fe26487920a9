"""The node's blob: everything a node is told, as one JSON document on stdin.

Made by the driver (`usernetes_deploy.cluster.blob`), read by the keeper and the supervisor. It holds private
keys, so it lives in memory only: never on argv, in the environment or on disk.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from usernetes_deploy.errors import UsernetesError

SCHEMA = 1
RUN = Path("/run/usernetes")  # on the node's own tmpfs, seen by nobody outside its mount namespace
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
KUBERNETES = Path("/etc/kubernetes")
REGISTRIES = RUN / "registries"  # containerd's hosts.toml and CAs, a folder a registry; they may hold passwords
COPIED_UP = ("/etc", "/run", "/var/lib", "/var/log", "/opt")  # a tmpfs of the node's own, with links to the host's
PKI = KUBERNETES / "pki"
KUBELET_CERTIFICATE = PKI / "kubelet.crt"
ENCRYPTION = str(KUBERNETES / "encryption.json")  # how the API server encrypts Secrets for etcd
# For TLS 1.2, which old clients speak; those of 1.3 cannot be chosen. Our keys are ECDSA.
CIPHER_SUITES = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
)
API_PORT = 6443  # inside the node
POD_CPUS = "USERNETES_POD_CPUS"  # how the OCI runtime wrapper is told `pod_cpus`


class NodeConfig(NamedTuple):
    """One node, complete. Addresses are IPv4 text, ports TCP unless said otherwise."""

    schema: int
    cluster: str
    cluster_id: str
    name: str
    number: int  # counted from 0; 0 carries the control plane
    control_plane: bool
    node_dir: str
    bundle: str
    host_address: str  # as it was when the node was made; it may change under a running node
    interface: str  # of the host, which has that address; lo where all nodes share one host
    api_port: int  # on the host's network, published by rootlesskit; first node only
    api_url: str  # inside the cluster's network
    api_outside: str  # on the hosts' network
    node_ip: str
    pod_cidr: str
    cluster_cidr: str
    service_cidr: str
    dns_ip: str
    dns_domain: str
    nameservers: list[str]
    outer: str  # slirp4netns | pasta
    network: dict[str, Any]  # the backend's own part: {"backend": "mesh", "mtu": 1420, ...}
    files: dict[str, str]  # path in the node's mount namespace -> content; keys and certificates, all 0600
    manifests: list[dict[str, Any]]  # applied by the first node when the API answers
    durability: str
    system_cpus: str | None
    cgroups: str  # none | delegated
    devices: list[dict[str, Any]]
    shared: str | None
    images: list[str]
    labels: dict[str, str]
    metrics: bool
    publishes: bool  # Services on this host; False where another node of the same host does
    taints: list[dict[str, str]]  # {"key", "value", "effect"}
    extra_args: dict[str, dict[str, str]]  # program -> flag -> value: apiServer, controllerManager, scheduler, kubelet
    proxies: dict[str, str]  # for pulls: HTTPS_PROXY, NO_PROXY ...
    patience: float = 120.0  # seconds that its parts wait for each other: the spec's waitSeconds
    eviction_disk: str = "1Gi"  # free on the node's disk before images and pods have to go; "0": never
    eviction_memory: str = "100Mi"  # of memory
    pod_pids: int = 0  # said by the keeper: how many processes and threads a pod may have; 0: no limit
    pod_cpus: str = ""  # said by the keeper: the CPUs of a job that has only some of its host's, as "0,1"
    job_cpus: int = 0  # said by the keeper: how many the job has, where nothing tells which; 0: all, or `pod_cpus`
    audit: bool = False  # the API server writes who did what
    job_memory: int = 0  # said by the keeper: bytes of the host's memory that are the job's; 0: all

    @property
    def root(self) -> Path:
        """The node's folder on the host's disk."""
        return Path(self.node_dir)

    @property
    def logs(self) -> Path:
        """One log a component."""
        return self.root / "logs"

    def further(self, program: str) -> list[str]:
        """The flags that the spec's `extraArgs` add to a program's own."""
        return [f"--{flag}={value}" for flag, value in self.extra_args.get(program, {}).items()]

    def binary(self, name: str) -> str:
        """Path of a binary of the bundle."""
        return str(Path(self.bundle) / "bin" / name)

    def renewed(self, request: Mapping[str, Any]) -> NodeConfig:
        """With what a running node was told: `files` of its start with other contents, another `network` of its own.

        The private key of the network stays. Raises `UsernetesError` for files that the node has not.
        """
        files: Mapping[str, str] = request.get("files", {})
        unknown = sorted(set(files) - set(self.files))
        if unknown:
            raise UsernetesError(f"this node has no such file: {', '.join(unknown)}")
        network = {**request.get("network", self.network), "privateKey": self.network["privateKey"]}
        return self._replace(files={**self.files, **files}, network=network)

    def to_json(self) -> bytes:
        """The blob."""
        return json.dumps(self._asdict()).encode()

    @classmethod
    def from_json(cls, blob: bytes) -> NodeConfig:
        """Read a blob; raises `UsernetesError` when it was cut off or is of another version."""
        try:
            document = json.loads(blob)
            config = cls(**document)
        except (ValueError, TypeError) as error:
            raise UsernetesError(f"the node's configuration on stdin is not complete: {error}") from error
        if config.schema != SCHEMA:
            raise UsernetesError(f"the node program reads configuration schema {SCHEMA}, got {config.schema}")
        return config


def in_memory(blob: bytes) -> int:
    """A descriptor of `blob` in an anonymous file that nobody can change or enlarge any more, read from its start.

    >>> os.read(descriptor := in_memory(b"secret"), 6)
    b'secret'
    >>> os.pwrite(descriptor, b"x", 0)
    Traceback (most recent call last):
        ...
    PermissionError: [Errno 1] Operation not permitted
    >>> os.close(descriptor)
    """
    descriptor = os.memfd_create("usernetes-node", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(blob)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
