"""Values of the right type that cannot work, each with its path and what was expected."""

from __future__ import annotations

import ipaddress
import re

from usernetes_deploy import cpus
from usernetes_deploy.access.policies import document as policies
from usernetes_deploy.cluster.spec import labels
from usernetes_deploy.cluster.spec.extra_args import REFUSED
from usernetes_deploy.cluster.spec.fields import ClusterSpec

NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?\Z")
DOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*\Z")
INTERFACE = re.compile(r"^([^\s/]{1,15}|[0-9a-fA-F.:]+/\d{1,3})\Z")
REGISTRY = re.compile(r"^[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?(:\d{1,5})?\Z")
URL = re.compile(r"https?://[^/\s]\S*\Z")
FLAG = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
BATCH_SYSTEMS = ("flux", "slurm")  # launchers inside batch jobs
MAX_NODES = 4096


def impossible(spec: ClusterSpec, broken: set[str]) -> list[tuple[str, str]]:
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
    fits = bool(re.fullmatch(r"[1-9]\d{0,5}[mhd]", spec.access.longest_grant))
    need("access.longestGrant", fits, f"expected a time as 30m, 8h or 2d, got {spec.access.longest_grant!r}")
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
        need(path, folder is None or folder.isprintable(), f"expected no control characters, got {folder!r}")
    need(
        "network.dnsDomain",
        bool(DOMAIN.match(spec.network.dns_domain)) and len(spec.network.dns_domain) <= 200,
        f"expected a domain as cluster.local, got {spec.network.dns_domain!r}",
    )
    need(
        "network.interface",
        spec.network.interface is None or bool(INTERFACE.match(spec.network.interface)),
        f"expected the name of an interface (at most 15 characters) or a CIDR, got {spec.network.interface!r}",
    )
    found += policies.mistakes(spec.policies)
    found += _bad_labels(spec)
    found += _bad_arguments(spec)
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
    found += _bad_registries(spec)
    found += _bad_networks(spec, broken)
    return found


def _bad_labels(spec: ClusterSpec) -> list[tuple[str, str]]:
    wrong = [(f"labels.{key}", labels.wrong_label(key, value)) for key, value in spec.labels.items()]
    wrong += [(f"taints[{index}]", labels.wrong_taint(text)) for index, text in enumerate(spec.taints)]
    return [(path, problem) for path, problem in wrong if problem]


def _bad_registries(spec: ClusterSpec) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for index, registry in enumerate(spec.registries):
        path = f"registries[{index}]"
        urls = {f"{path}.mirrors[{number}]": url for number, url in enumerate(registry.mirrors)}
        for where, url in {**urls, **({f"{path}.url": registry.url} if registry.url else {})}.items():
            if not URL.match(url):
                found.append((where, f"expected http://... or https://..., got {url!r}"))
            elif "@" in url:
                found.append((where, "a user and password do not belong into a URL: name a file with `credentials`"))
        if registry.name in [other.name for other in spec.registries[:index]]:
            found.append((f"{path}.name", f"{registry.name} is there twice: give it `mirrors`"))
        files = {"ca": registry.ca, "credentials": None if registry.credentials == "docker" else registry.credentials}
        found += [
            (f"{path}.{key}", f"expected an absolute path, got {file!r}")
            for key, file in files.items()
            if file is not None and not file.startswith("/")
        ]
    return found


def _bad_arguments(spec: ClusterSpec) -> list[tuple[str, str]]:
    found = []
    programs = {
        "apiServer": spec.extra_args.api_server,
        "controllerManager": spec.extra_args.controller_manager,
        "scheduler": spec.extra_args.scheduler,
        "kubelet": spec.extra_args.kubelet,
    }
    for program, arguments in programs.items():
        for flag, value in arguments.items():
            path = f"extraArgs.{program}.{flag}"
            if not FLAG.match(flag):
                found.append((path, f"expected a flag without its dashes, as v or audit-log-maxage, got {flag!r}"))
            elif reason := REFUSED[program].get(flag):
                found.append((path, f"it cannot be set: {reason}"))
            elif not value.isprintable():
                found.append((path, f"expected a value without control characters, got {value!r}"))
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
