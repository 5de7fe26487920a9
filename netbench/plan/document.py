"""What a plan says: cases, places, nodes, repeats, hosts, MPI and the cluster; checked in full before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from netbench.cases import CASES
from netbench.records.schema import about, decode, encode, parsed
from usernetes_deploy.errors import SpecError

API_VERSION = "usernetes.dev/v1alpha1"
STATES: Mapping[str, str] = {
    "bare-metal": "none",
    "bare-metal-beside": "mesh",
    "pod-native": "mesh",
    "pod-mesh": "mesh",
    "pod-flannel": "flannel",
    "mpijob-native": "mesh",
    "mpijob-mesh": "mesh",
}


@dataclass(frozen=True)
class CasePlan:
    """One case with its parameters; nodes and ranks of its own where the plan's are not wanted."""

    case: str = about("name, see `netbench cases`")
    parameters: Mapping[str, str] = about("over the case's defaults; all as text", default={})
    nodes: tuple[int, ...] = about("numbers of nodes; empty: the plan's", default=())
    ranks_per_node: tuple[int, ...] = about("ranks on each node; empty: the plan's", default=())
    places: tuple[str, ...] = about("empty: the plan's", default=())
    time_limit: float | None = about("seconds for one run; null: the plan's", default=None, minimum=1)


@dataclass(frozen=True)
class HostPlan:
    """One host: its name (the node's name in the cluster), its address, and how to run a command there."""

    name: str = about("unique; the cluster's node has the same name", pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")
    address: str = about("IP address that the other hosts reach it by")
    run: tuple[str, ...] = about("command in front of `sh -c ...`; empty: by the plan's launcher", default=())
    topology: str | None = about("where it stands, e.g. rack3/switch1", default=None)
    cpus: tuple[int, ...] = about("CPUs that its MPI ranks are held to, one each; empty: not held", default=())


@dataclass(frozen=True)
class MpiPlan:
    """How MPI programs are started and which transport they are held to."""

    launcher: Literal["hydra", "openmpi", "flux", "srun"] = about("flux and srun: on bare metal only", default="hydra")
    transport: Literal["tcp", "default"] = about("tcp: fixed on all sides; default: what MPI chooses", default="tcp")
    env: Mapping[str, str] = about("more environment for the ranks", default={})


@dataclass(frozen=True)
class SoftwarePlan:
    """Where installed software is looked for, before PATH."""

    prefixes: tuple[str, ...] = about("installation prefixes", default=())
    modules: tuple[str, ...] = about("environment modules to load", default=())
    hns: str | None = about("folder of the ReaxFF HNS example", default=None)
    scratch: str | None = about(
        "folder for netbench's own programs and inputs; default: on each host's own disk, handed out",
        default=None,
        pattern="^/",
    )


@dataclass(frozen=True)
class ClusterPlan:
    """The cluster: made by the campaign from a `spec` of usernetes, or by commands `up` and `down`, or used as it is.

    A cluster that is used as it is leaves no `bare-metal` (without one) to be measured.
    """

    spec: str | None = about("spec file for `usernetes up`; the campaign makes its clusters", default=None)
    name: str = about("first part of the names of clusters made from `spec`", default="netbench")
    settings: tuple[str, ...] = about("over the spec's fields, as nodes=3", default=())

    kubeconfig: str | None = about("the cluster's kubeconfig; {network} is replaced", default=None)
    up: tuple[str, ...] = about("command; {network} is replaced by mesh or flannel", default=())
    down: tuple[str, ...] = about("command; {network} is replaced", default=())
    image: str = about("image of the pods; pause: the host's own software is mounted", default="pause")
    namespace: str = about("namespace of the pods", default="default")
    kubectl: tuple[str, ...] = about("kubectl, with arguments that are always given", default=("kubectl",))
    managed: bool = about("true: make clusters with usernetes also without a spec file", default=False)
    settle: float = about("seconds between a cluster's start and the first run", default=5.0, minimum=0)
    weigh: float = about("seconds over which what it costs at rest is measured; 0: not at all", default=5.0, minimum=0)

    @property
    def makes_clusters(self) -> bool:
        """Whether the campaign itself brings clusters up and takes them down."""
        return bool(self.up or self.spec or self.managed)


@dataclass(frozen=True)
class Plan:
    """A plan as written: all but `cases`, and `cluster` where a place needs one, has a usable default."""

    api_version: str = about("usernetes.dev/v1alpha1", pattern=r"^usernetes\.dev/v1alpha1$")
    kind: Literal["Benchmark"] = about("always Benchmark")
    cases: tuple[CasePlan, ...] = about("what to run")
    name: str = about("the campaign's name", default="netbench", pattern=r"^[a-z0-9][a-z0-9-]*$")
    places: tuple[str, ...] = about("where to run", default=("bare-metal", "bare-metal-beside", "pod-native"))
    nodes: tuple[int, ...] = about("numbers of nodes", default=(2,))
    ranks_per_node: tuple[int, ...] = about("ranks on each node", default=(1,))
    repeats: int = about("runs of each cell at each place", default=20, minimum=1)
    warmups: int = about("runs before them that are kept but not judged", default=1, minimum=0)
    repeats_per_visit: int = about(
        "repeats in one state of the cluster before it is changed; 1: places take turns in every repeat",
        default=1,
        minimum=1,
    )
    seed: int = about("of the shuffle", default=1)
    time_limit: float = about("seconds for one run", default=300.0, minimum=1)
    launcher: Literal["local", "ssh", "flux", "slurm"] = about("how hosts without `run` are reached", default="local")
    hosts: tuple[HostPlan, ...] = about("in the order ranks are laid; empty: this machine", default=())
    mpi: MpiPlan = about("MPI", default=MpiPlan())
    software: SoftwarePlan = about("where software is", default=SoftwarePlan())
    cluster: ClusterPlan = about("the cluster", default=ClusterPlan())


def load_plan(source: Path) -> Plan:
    """Read a plan file. Raises `SpecError` with every problem and its path."""
    return plan_from(parsed(source), str(source))


def plan_from(data: Any, source: str = "the plan") -> Plan:
    """Check a plan that was parsed already (camelCase keys, as in YAML).

    >>> written = {"cases": ["osu_latency"], "cluster": {"managed": True}}
    >>> plan = plan_from({"apiVersion": API_VERSION, "kind": "Benchmark", **written})
    >>> plan.cases[0].case, plan.repeats
    ('osu_latency', 20)
    """
    plan, problems = decode(Plan, _as_written(data))
    if not problems:
        problems = _nonsense(plan)
    if problems:
        raise SpecError([(_camel(path), what) for path, what in problems], source)
    made: Plan = plan
    return made


def to_json(plan: Plan) -> str:
    """The plan in full, as it is laid beside its records; two plans are the same if this text is."""
    return json.dumps(encode(plan), indent=1, sort_keys=True) + "\n"


def _nonsense(plan: Plan) -> list[tuple[str, str]]:
    """What the types cannot say."""
    problems: list[tuple[str, str]] = []
    known_cases, known_places = ", ".join(CASES), ", ".join(STATES)
    for i, wanted in enumerate(plan.cases):
        if wanted.case not in CASES:
            problems.append((f"cases[{i}].case", f"there is no case {wanted.case!r}; known: {known_cases}"))
            continue
        for key in wanted.parameters:
            if key not in CASES[wanted.case].defaults:
                named = ", ".join(CASES[wanted.case].defaults) or "none"
                problems.append(
                    (f"cases[{i}].parameters.{key}", f"{wanted.case} has no such parameter; it has {named}")
                )
    listed = [("places", plan.places)] + [(f"cases[{i}].places", c.places) for i, c in enumerate(plan.cases)]
    for path, places in listed:
        for j, place in enumerate(places):
            if place not in STATES:
                problems.append((f"{path}[{j}]", f"there is no place {place!r}; known: {known_places}"))
    if not plan.cases:
        problems.append(("cases", "expected at least one"))
    most = max((*plan.nodes, *(n for c in plan.cases for n in c.nodes)), default=1)
    if plan.hosts and most > len(plan.hosts):
        problems.append(("nodes", f"{most} nodes, but only {len(plan.hosts)} hosts"))
    names = [host.name for host in plan.hosts]
    problems += [("hosts", f"{name} stands there twice") for name in sorted({n for n in names if names.count(n) > 1})]
    all_places = {place for _, places in listed for place in places}
    if not plan.cluster.makes_clusters and "bare-metal" in all_places and all_places - {"bare-metal"}:
        what = "a cluster that is always there leaves no bare-metal; give cluster.spec or cluster.managed, or drop one"
        problems.append(("places", what))
    by_operator = sorted(place for place in all_places if place.startswith("mpijob-"))
    if by_operator and (plan.cluster.managed or plan.cluster.spec):
        what = "a cluster that netbench makes has no mpi-operator; give cluster.kubeconfig of one that has it"
        problems.append(("places", f"{', '.join(by_operator)}: {what}"))
    if plan.mpi.launcher in ("flux", "srun") and any(not place.startswith("bare-metal") for place in all_places):
        problems.append(
            ("mpi.launcher", f"{plan.mpi.launcher} starts ranks on bare metal only; in pods: hydra, openmpi")
        )
    return problems


def _as_written(data: Any) -> Any:
    """YAML's camelCase to the classes' names; a case may be its bare name; parameters may be numbers."""
    data = _snake(data)
    if isinstance(data, dict) and isinstance(data.get("cases"), list):
        data["cases"] = [{"case": entry} if isinstance(entry, str) else entry for entry in data["cases"]]
        for entry in data["cases"]:
            if isinstance(entry, dict) and isinstance(entry.get("parameters"), dict):
                entry["parameters"] = {
                    key: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
                    for key, value in entry["parameters"].items()
                }
    return data


def _snake(data: Any, *, free: bool = False) -> Any:
    if isinstance(data, dict):
        return {
            key if free else _words(key): _snake(value, free=key in ("env", "parameters"))
            for key, value in data.items()
        }
    return [_snake(item) for item in data] if isinstance(data, list) else data


def _words(key: Any) -> Any:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key) if isinstance(key, str) else key


def _camel(path: str) -> str:
    head, *rest = path.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
