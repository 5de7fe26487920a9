"""What a user asks for: a `ClusterSpec`, read from YAML and flags, with every problem listed at once.

The dataclass below is the whole schema: field names are the YAML keys (camelCase there, snake_case here), defaults are
usable as they are, and `describe()` prints the commented default file from the same source.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from usernetes_deploy import cpus
from usernetes_deploy.errors import SpecError, UsageError

API_VERSION = "usernetes.dev/v1alpha1"
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?\Z")
REGISTRY = re.compile(r"^[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?(:\d{1,5})?\Z")
BATCH_SYSTEMS = ("flux", "slurm")  # launchers inside batch jobs
MAX_NODES = 4096


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
    """Where the images of a registry really come from: a mirror, plain HTTP, a certificate of one's own."""

    name: str = _doc("the registry as image names have it: registry.example.org:5000", "")
    url: str | None = _doc("where it is asked, as http://10.0.0.5:5000; default: https://NAME", None)
    ca: str | None = _doc("file with the authority (PEM) that signed its certificate", None)


@dataclass(frozen=True)
class EvictionSpec:
    """How much has to be left of what a node shares with others, before its images and pods go."""

    disk: str = _doc("free on the node's disk; below it unused images go, then pods. 0: never", "1Gi")
    memory: str = _doc("of memory, below it pods go; only where limits are enforced. 0: never", "100Mi")


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as asked for.

    >>> load({"nodes": 2, "name": "demo"}).nodes
    2
    """

    name: str = _doc("name of the cluster: lower-case letters, digits and dashes", "default")
    nodes: int = _doc("how many nodes; the first carries the control plane", 1)
    min_nodes: int | None = _doc("go on when at least so many nodes are Ready; default: all of them", None)
    launcher: Literal["local", "flux", "slurm", "ssh"] = _doc(
        "local: all nodes on this host; flux, slurm: the hosts of this batch job; ssh: `hosts`", "local"
    )
    hosts: tuple[str, ...] = _doc("hosts for the ssh launcher, as node[01-16] or user@name", ())
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
        "mirrors of registries, or ones with plain HTTP or an authority of their own: {name, url, ca}", ()
    )
    api_port: int | None = _doc("TCP port of the API on the first host; default: a free one", None)
    mesh_port: int | None = _doc(
        "UDP port of the mesh on every host; default: a free one (local launcher: one a node)", None
    )
    metrics: bool = _doc("run metrics-server, for `kubectl top` and autoscalers", False)
    replace_lost: bool = _doc("in a batch job: a free host of the job takes the place of a node that is lost", False)
    bundle: str | None = _doc("digest or folder of the bundle; default: the newest in the cache", None)
    wait_seconds: int = _doc("how long `up --wait` waits for Ready, DNS and a packet between pods", 120)


def load(document: Mapping[str, Any] | None, source: str = "the spec") -> ClusterSpec:
    """Make a spec of a parsed YAML document (camelCase keys).

    Raises `SpecError` with every unknown field, wrong type and impossible value, each with its path.
    """
    problems: list[tuple[str, str]] = []
    body = dict(document or {})
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Cluster")):
        given = body.pop(key, wanted)
        if given != wanted:
            problems.append((key, f"expected {wanted}, got {given!r}"))
    spec = _build(ClusterSpec, body, "", problems)
    if spec is not None:
        problems += _impossible(spec, {path.partition("[")[0] for path, _ in problems})
    if problems or spec is None:
        raise SpecError(problems, source)
    return typing.cast("ClusterSpec", spec)


def read(path: Path) -> dict[str, Any]:
    """Parse a spec file; raises `UsageError` when it is not there or no YAML mapping."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(error.strerror or str(error), tried=f"read {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"not YAML: {error}", tried=f"read {path}") from error
    if not isinstance(document, dict):
        raise UsageError("expected a mapping of fields at the top", tried=f"read {path}")
    return document


def parse_value(text: str) -> Any:
    """A value from the command line, read as YAML: ``3`` is a number, ``[a, b]`` a list.

    >>> parse_value("[a, b]")
    ['a', 'b']
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{text!r} is not a YAML value: {error}") from error


def merge(document: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Lay flags (dotted camelCase paths; None = not given) over a document.

    >>> merge({"network": {"mtu": 1400}}, {"network.backend": "flannel", "nodes": None})
    {'network': {'mtu': 1400, 'backend': 'flannel'}}
    """
    result: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()
    }
    for path, value in flags.items():
        if value is None:
            continue
        *parents, last = path.split(".")
        at = result
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise SpecError([(parent, "expected a mapping")])
        at[last] = value
    return result


def dump(spec: ClusterSpec) -> dict[str, Any]:
    """The spec as a document that `load` takes back."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {
                camel(entry.name): plain(getattr(value, entry.name))
                for entry in dataclasses.fields(value)
                if getattr(value, entry.name) not in (None, ())
            }
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return {"apiVersion": API_VERSION, "kind": "Cluster", **plain(spec)}


def describe() -> str:
    """The default spec as commented YAML (what `usernetes spec` prints)."""
    lines = [f"apiVersion: {API_VERSION}", "kind: Cluster"]

    def walk(cls: Any, indent: str) -> None:
        for entry in dataclasses.fields(cls):
            value = entry.default_factory() if entry.default_factory is not dataclasses.MISSING else entry.default
            key = camel(entry.name)
            if dataclasses.is_dataclass(value):
                lines.append(f"{indent}{key}:" + (f"  # {type(value).__doc__}" if type(value).__doc__ else ""))
                walk(type(value), indent + "  ")
                continue
            lines.extend(f"{indent}# {text}" for text in [entry.metadata.get("doc")] if text)
            choices = typing.get_type_hints(cls)[entry.name]
            if typing.get_origin(choices) is Literal:
                lines[-1] += f"  [{' | '.join(typing.get_args(choices))}]"
            shown = {None: "", (): "[]"}.get(value) if value in (None, ()) else yaml.safe_dump(value).split("\n")[0]
            lines.append(f"{indent}{'# ' if value is None else ''}{key}: {shown}".rstrip())

    walk(ClusterSpec, "")
    return "\n".join(lines) + "\n"


def camel(name: str) -> str:
    """``api_port`` -> ``apiPort``; CIDR and MTU keep the field's own spelling.

    >>> [camel(name) for name in ("pod_cidr", "min_nodes")]
    ['podCIDR', 'minNodes']
    """
    head, *rest = name.split("_")
    return head + "".join("CIDR" if part == "cidr" else part.capitalize() for part in rest)


_hints = functools.cache(typing.get_type_hints)


def _build(cls: Any, body: Mapping[str, Any], at: str, problems: list[tuple[str, str]]) -> Any:
    hints = _hints(cls)
    known = {camel(entry.name): entry.name for entry in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in body.items():
        path = f"{at}{key}"
        if key not in known:
            problems.append((path, f"unknown field; the fields here are {', '.join(known)}"))
            continue
        if value is None:
            continue
        converted = _convert(hints[known[key]], value, path, problems)
        if converted is not dataclasses.MISSING:
            values[known[key]] = converted
    return cls(**values)


def _convert(hint: Any, value: Any, path: str, problems: list[tuple[str, str]]) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _convert(next(arg for arg in args if arg is not type(None)), value, path, problems)
    if origin is Literal:
        if value in args:
            return value
        problems.append((path, f"expected one of {', '.join(args)}, got {value!r}"))
        return dataclasses.MISSING
    if origin is tuple:
        if not isinstance(value, list | tuple):
            problems.append((path, f"expected a list, got {value!r}"))
            return dataclasses.MISSING
        items = [_convert(args[0], item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
        return tuple(item for item in items if item is not dataclasses.MISSING)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _build(hint, value, f"{path}.", problems)
        problems.append((path, f"expected a mapping of fields, got {value!r}"))
        return dataclasses.MISSING
    words = {int: "a whole number", str: "text", bool: "true or false"}
    if hint is str and type(value) is int:
        return str(value)  # `systemCpus: 0` is a number to YAML alone
    if type(value) is not hint:
        problems.append((path, f"expected {words[hint]}, got {value!r}"))
        return dataclasses.MISSING
    return value


def _impossible(spec: ClusterSpec, broken: set[str]) -> list[tuple[str, str]]:
    """Values of the right type that cannot work; fields already reported in `broken` are left alone."""
    found: list[tuple[str, str]] = []

    def need(path: str, holds: bool, problem: str) -> None:
        if not holds and path not in broken:
            found.append((path, problem))

    need(
        "name",
        bool(NAME.match(spec.name)),
        f"expected lower-case letters, digits and dashes (at most 40), got {spec.name!r}",
    )
    need("nodes", 1 <= spec.nodes <= MAX_NODES, f"expected a whole number from 1 to {MAX_NODES}, got {spec.nodes}")
    need(
        "minNodes",
        spec.min_nodes is None or 1 <= spec.min_nodes <= spec.nodes,
        f"expected 1 to {spec.nodes} (nodes), got {spec.min_nodes}",
    )
    need(
        "replaceLost",
        not spec.replace_lost or spec.launcher in BATCH_SYSTEMS,
        f"the {spec.launcher} launcher has nobody who watches the nodes: usernetes remove NODE --force, and add",
    )
    need("hosts", spec.launcher != "ssh" or bool(spec.hosts), "the ssh launcher needs at least one host")
    need(
        "network.mtu",
        spec.network.mtu is None or 576 <= spec.network.mtu <= 65520,
        f"expected 576 to 65520 bytes, got {spec.network.mtu}",
    )
    for path, port in (("apiPort", spec.api_port), ("meshPort", spec.mesh_port)):
        need(path, port is None or 1 <= port <= 65535, f"expected a port from 1 to 65535, got {port}")
    for key, size in (("disk", spec.eviction.disk), ("memory", spec.eviction.memory)):
        fits = bool(re.fullmatch(r"0|[1-9]\d*(|[KMGT]i)", size))
        need(f"eviction.{key}", fits, f"expected a size as 500Mi or 2Gi, or 0 for never, got {size!r}")
    need("waitSeconds", spec.wait_seconds > 0, f"expected seconds > 0, got {spec.wait_seconds}")
    need(
        "systemCpus",
        spec.system_cpus is None or cpu_set(spec.system_cpus) is not None,
        f"expected CPUs as in 0-1,8, got {spec.system_cpus!r}",
    )
    for path, folder in (
        ("storage.shared", spec.storage.shared),
        ("storage.nodeDirectory", spec.storage.node_directory),
    ):
        need(path, folder is None or folder.startswith("/"), f"expected an absolute path, got {folder!r}")
    for index, device in enumerate(spec.devices):
        need(f"devices[{index}].name", bool(NAME.match(device.name)), f"expected a resource name, got {device.name!r}")
        need(f"devices[{index}].paths", bool(device.paths), "expected at least one glob of device files")
        need(f"devices[{index}].count", device.count >= 1, f"expected a whole number >= 1, got {device.count}")
    for index, registry in enumerate(spec.registries):
        need(
            f"registries[{index}].name",
            bool(REGISTRY.match(registry.name)),
            f"expected a host or host:port, got {registry.name!r}",
        )
        need(
            f"registries[{index}].url",
            registry.url is None or bool(re.match(r"https?://[^/\s]", registry.url)),
            f"expected http://... or https://..., got {registry.url!r}",
        )
    found += _bad_networks(spec, broken)
    return found


def _bad_networks(spec: ClusterSpec, broken: set[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    cidrs: dict[str, ipaddress.IPv4Network] = {}
    for path, text, room in (
        ("network.nodeCIDR", spec.network.node_cidr, spec.nodes + 2),
        ("network.podCIDR", spec.network.pod_cidr, spec.nodes * 256),
        ("network.serviceCIDR", spec.network.service_cidr, 256),
    ):
        if path in broken:
            continue
        try:
            cidrs[path] = ipaddress.IPv4Network(text)
        except ValueError as error:
            found.append((path, f"expected an IPv4 network such as 10.244.0.0/16: {error}"))
            continue
        if cidrs[path].num_addresses < room:
            found.append((path, f"{text} is too small for {spec.nodes} nodes: needs {room} addresses"))
    paths = list(cidrs)
    for index, first in enumerate(paths):
        found += [
            (second, f"{cidrs[second]} overlaps {first} {cidrs[first]}")
            for second in paths[index + 1 :]
            if cidrs[first].overlaps(cidrs[second])
        ]
    for index, server in enumerate(spec.network.nameservers):
        try:
            ipaddress.IPv4Address(server)
        except ValueError:
            found.append((f"network.nameservers[{index}]", f"expected an IPv4 address, got {server!r}"))
    return found


def cpu_set(text: str) -> frozenset[int] | None:
    """Parse a kernel CPU list; None when it is not one.

    >>> sorted(cpu_set("0-1,8"))
    [0, 1, 8]
    """
    try:
        return cpus.parse(text)
    except ValueError:
        return None
