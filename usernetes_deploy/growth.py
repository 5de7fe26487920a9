"""ADD and REMOVE: a running cluster gets further nodes, or gives some back, under its workload.

An autoscaler would call `add` and `remove` as the command line does; nothing here asks who decided.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy import spec as specs
from usernetes_deploy.bundle import locate
from usernetes_deploy.context import BringUp
from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.launchers import launcher_from_state
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.nodes import change_network, members_of, stop_nodes
from usernetes_deploy.phase import Phase, Report, run
from usernetes_deploy.phases.check_network import CheckNetwork
from usernetes_deploy.phases.check_nodes import CheckNodes
from usernetes_deploy.phases.connect_further import ConnectFurther
from usernetes_deploy.phases.make_identities import MakeIdentities, peers_without
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.record_growth import RecordGrowth
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes
from usernetes_deploy.phases.update_peers import UpdatePeers
from usernetes_deploy.phases.wait_ready import WaitReady
from usernetes_deploy.state import ClusterState

DRAIN_SECONDS = 120


def phases(find: Callable[[], Sequence[Host]]) -> Sequence[Phase[BringUp]]:
    """ADD: as UP, but the nodes that are there learn of the new ones before these start."""
    return (
        ConnectFurther(find),
        ProbeNodes(),
        CheckNodes(),
        RecordGrowth(),
        StageBundle(),
        MakeIdentities(),
        UpdatePeers(),
        StartNodes(),
        WaitReady(),
        CheckNetwork(),
    )


def context_of(state: ClusterState, launcher: Launcher, report: Report) -> BringUp:
    """A recorded cluster as the phases know it."""
    document = state.read()
    return BringUp(
        spec=specs.load(document["spec"], str(state.directory / "cluster.json")),
        launcher=launcher,
        state=state,
        found_bundle=locate(Path(document["bundle"]["root"])),
        report=report,
        created=document["created"],
        cluster_id=document["id"],
        existing=where_they_are(state, document["nodes"]),
    )


def where_they_are(state: ClusterState, nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The recorded nodes with their hosts' addresses of now: a lease may have given one another since."""
    api = state.api()
    now = api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}").get("data") or {}
    api.close()
    return [{**node, "address": now.get(node["name"], node["address"])} for node in nodes]


def add(
    state: ClusterState, report: Report, launcher: Launcher, find: Callable[[Launcher], Sequence[Host]]
) -> list[str]:
    """Bring further nodes into a running cluster; returns their names.

    Raises what the phases raise; then the cluster is as it was.
    """
    with state.locked():
        up = context_of(state, launcher, report)
        run(phases(lambda: find(launcher)), up, report)
        return [node.name for node in up.nodes]


def remove(
    state: ClusterState, report: Report, program: Path, names: Sequence[str], *, drain_seconds: int = DRAIN_SECONDS
) -> None:
    """Drain nodes, end them and forget them: their address and number are free for others.

    A node's keys were nowhere but in its own memory, so with it they are gone; its peers drop its public key, and no
    packet of it is taken any more. Raises `UsageError` for a name that is no node, or the control plane's.
    """
    with state.locked():
        document = state.read()
        members = {member.host.name: member for member in members_of(document)}
        unknown = [name for name in names if name not in members]
        if unknown:
            raise UsageError(
                f"cluster {state.name} has no node {', '.join(unknown)}; its nodes are {', '.join(members)}"
            )
        if any(members[name].index == 0 for name in names):
            raise UsageError(
                f"{next(iter(members))} carries the control plane and cannot leave", remedy="usernetes down"
            )
        launcher = launcher_from_state(document["launcher"], program)
        try:
            up = context_of(state, launcher, report)
            api = state.api()
            for name in names:
                try:
                    drain(state, document, name, drain_seconds)
                    report.line(f"{name}: cordoned and drained")
                except UsernetesError as refused:
                    report.line(f"  warning: {name} could not be drained: {refused}")
                api.delete({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            api.close()
            up.existing = [node for node in up.existing if node["name"] not in names]
            told = change_network(launcher, members.values(), peers_without(up))
            for name, error in told.failures.items():
                report.line(f"  warning: {name} could not be told that its peers left: {error}")
            ended = stop_nodes(launcher, document, [members[name] for name in names])
            launcher.release(names)
            state.write(
                {
                    **document,
                    "launcher": dict(launcher.to_state()),
                    "nodes": list(up.existing),
                    "givenUp": _without(document["givenUp"], names),
                }
            )
            for name, error in ended.failures.items():
                report.line(f"  warning: {name} could not be told to end: {error}")
            report.line(f"{', '.join(names)} left; {len(up.existing)} nodes stay")
        finally:
            launcher.close()


def drain(state: ClusterState, document: Mapping[str, Any], name: str, seconds: int) -> None:
    """Cordon a node and move its pods away with kubectl, which honours disruption budgets and grace periods."""
    argv = [
        f"{document['bundle']['root']}/bin/kubectl",
        f"--kubeconfig={state.kubeconfig}",
        "drain",
        name,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        f"--timeout={seconds}s",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr, node=name)


def _without(given_up: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: why for name, why in given_up.items() if name not in names}
