"""The fields of a spec: the dataclasses below are the whole schema.

Field names are the YAML keys (camelCase there, snake_case here), and defaults are usable as they are. The commented
default file, the JSON Schema and the checks of types all come from here; `rules` says which values cannot work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


def _doc(text: str, default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """A dataclass field whose comment is shown by `usernetes spec`."""
    if default is not dataclasses.MISSING:
        kwargs["default"] = default
    return field(metadata={"doc": text}, **kwargs)


@dataclass(frozen=True)
class NetworkSpec:
    """How nodes and pods reach each other."""

    backend: Literal["mesh", "flannel"] = _doc(
        "mesh: WireGuard between the nodes; flannel: VXLAN, for comparison", "mesh"
    )
    interface: str | None = _doc(
        "host interface, by name (hsn0) or by a CIDR it has an address in; default: the default route's", None
    )
    mtu: int | None = _doc("MTU of the pod network in bytes; default: the interface's, less the tunnel's header", None)
    outer: Literal["auto", "slirp4netns", "pasta"] = _doc("user-space NAT through which pods reach the outside", "auto")
    node_cidr: str = _doc("addresses of the nodes inside the mesh", "10.64.0.0/16")
    pod_cidr: str = _doc("addresses of the pods; each node gets a /24 of it", "10.244.0.0/16")
    service_cidr: str = _doc("cluster IPs of Services; the tenth is the cluster's DNS", "10.96.0.0/16")
    dns_domain: str = _doc("domain of the cluster's DNS", "cluster.local")
    proxy: Literal["environment", "none"] = _doc(
        "environment: images are pulled through HTTPS_PROXY and HTTP_PROXY of `up`'s environment", "environment"
    )
    nameservers: tuple[str, ...] = _doc(
        "resolvers for names outside the cluster; default: the first host's, those that answer first", ()
    )


@dataclass(frozen=True)
class StorageSpec:
    """Where volumes come from."""

    shared: str | None = _doc("a directory all nodes share: offered as StorageClass `shared` (ReadWriteMany)", None)
    node_directory: str | None = _doc(
        "node-local folder for images, volumes and logs; default: the first fit of /var/tmp, /tmp", None
    )


@dataclass(frozen=True)
class DeviceSpec:
    """Device files that pods may ask for as `usernetes.dev/NAME: 1`."""

    name: str = _doc("resource name", "")
    paths: tuple[str, ...] = _doc("globs of device files, all given to the pod together", ())
    count: int = _doc("how many pods may hold it at once on a node", 1)


@dataclass(frozen=True)
class RegistrySpec:
    """Where the images of a registry really come from: mirrors, plain HTTP, a login, a certificate of one's own."""

    name: str = _doc("the registry as image names have it: registry.example.org:5000", "")
    url: str | None = _doc("where it is asked, as http://10.0.0.5:5000; default: https://NAME", None)
    mirrors: tuple[str, ...] = _doc("URLs that are asked before it, in this order", ())
    credentials: str | None = _doc(
        "file (0600) with USER:PASSWORD for it and its mirrors, or as docker's config.json; docker: docker's own", None
    )
    ca: str | None = _doc("file with the authorities (PEM) that signed its certificate and its mirrors'", None)
    skip_verify: bool = _doc("take any certificate: whoever is in between can read and change all", False)


@dataclass(frozen=True)
class EvictionSpec:
    """How much has to be left of what a node shares with others, before its images and pods go."""

    disk: str = _doc("free on the node's disk; below it unused images go, then pods. 0: never", "1Gi")
    memory: str = _doc("of memory, below it pods go; only where limits are enforced. 0: never", "100Mi")


@dataclass(frozen=True)
class AccessSpec:
    """What others than you may be given."""

    longest_grant: str = _doc("the longest that `usernetes grant --for` allows, as 8h or 2d", "24h")
    audit: bool = _doc("write down who did what through the API: `usernetes audit`", True)


@dataclass(frozen=True)
class ExtraArgsSpec:
    """Further flags of Kubernetes' programs, without dashes: {audit-log-maxage: "7"}."""

    api_server: Mapping[str, str] = _doc("of kube-apiserver", default_factory=dict)
    controller_manager: Mapping[str, str] = _doc("of kube-controller-manager", default_factory=dict)
    scheduler: Mapping[str, str] = _doc("of kube-scheduler", default_factory=dict)
    kubelet: Mapping[str, str] = _doc("of the kubelet, on every node", default_factory=dict)


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as asked for.

    >>> ClusterSpec(nodes=2).network.backend
    'mesh'
    """

    name: str = _doc("name of the cluster: lower-case letters, digits and dashes", "default")
    nodes: int = _doc("how many nodes; the first carries the control plane", 1)
    min_nodes: int | None = _doc("go on when at least so many nodes are Ready; default: all of them", None)
    launcher: Literal["local", "flux", "slurm", "ssh"] = _doc(
        "local: all nodes on this host; flux, slurm: the hosts of this batch job; ssh: `hosts`", "local"
    )
    hosts: tuple[str, ...] = _doc("hosts for the ssh launcher, as node[01-16] or user@name", ())
    labels: Mapping[str, str] = _doc("labels of every node, besides those of a host file", default_factory=dict)
    taints: tuple[str, ...] = _doc("taints of every node, as gpu=yes:NoSchedule", ())
    network: NetworkSpec = _doc("", default_factory=NetworkSpec)
    storage: StorageSpec = _doc("", default_factory=StorageSpec)
    durability: Literal["disk", "memory"] = _doc(
        "etcd's data: disk survives a restart of the node; memory is faster, for throw-away clusters", "disk"
    )
    system_cpus: str | None = _doc("CPUs that Kubernetes' own processes are held to, as in 0-1,8; default: all", None)
    eviction: EvictionSpec = _doc("", default_factory=EvictionSpec)
    devices: tuple[DeviceSpec, ...] = _doc("device files offered to pods: {name, paths, count}", ())
    images: tuple[str, ...] = _doc("docker or OCI archives loaded on every node at start, by their paths there", ())
    registries: tuple[RegistrySpec, ...] = _doc(
        "where images really come from: {name, url, mirrors, credentials, ca, skipVerify}", ()
    )
    api_port: int | None = _doc("TCP port of the API on the first host; default: a free one", None)
    mesh_port: int | None = _doc(
        "UDP port of the mesh on every host; default: a free one (local launcher: one a node)", None
    )
    manifests: tuple[str, ...] = _doc("files or folders of objects (YAML) that the cluster begins with", ())
    extra_args: ExtraArgsSpec = _doc("", default_factory=ExtraArgsSpec)
    access: AccessSpec = _doc("", default_factory=AccessSpec)
    policies: tuple[Any, ...] = _doc(
        "what is not allowed, besides the site's: names, or {NAME: parameters}; see `usernetes policy list`", ()
    )
    metrics: bool = _doc("run metrics-server, for `kubectl top` and autoscalers", False)
    replace_lost: bool = _doc("in a batch job: a free host of the job takes the place of a node that is lost", False)
    bundle: str | None = _doc("digest or folder of the bundle; default: the newest in the cache", None)
    wait_seconds: int = _doc("how long `up --wait` waits for Ready, DNS and a packet between pods", 120)
