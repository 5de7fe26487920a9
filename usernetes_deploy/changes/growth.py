"""ADD and REMOVE: a running cluster gets further nodes, or gives some back, under its workload.

An autoscaler would call `add` and `remove` as the command line does; nothing here asks who decided.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.bundle import locate
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import Phase, Report, run
from usernetes_deploy.cluster import losses
from usernetes_deploy.cluster import spec as specs
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.nodes import RecordedNode, ask_nodes, change_network, members_of, stop_nodes
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.base import Host, Launcher
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.phases.check_network import CheckNetwork
from usernetes_deploy.phases.check_nodes import CheckNodes
from usernetes_deploy.phases.connect_further import ConnectFurther
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.plan_network import PlanNetwork, peers_without
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.record_growth import RecordGrowth
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes
from usernetes_deploy.phases.update_peers import UpdatePeers
from usernetes_deploy.phases.wait_ready import WaitReady, explain

DRAIN_SECONDS = 120


def phases(find: Callable[[], Sequence[Host]]) -> Sequence[Phase[BringUp]]:
    """ADD: as UP, but the nodes that are there learn of the new ones before these start."""
    return (
        ConnectFurther(find),
        ProbeNodes(),
        CheckNodes(),
        RecordGrowth(),
        StageBundle(),
        PlanNetwork(),
        IssueCredentials(),
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
        phase_before=document["phase"],
        given_up=document.get("givenUp", {}),
        existing=where_they_are(state, document["nodes"]),
        losses=document.get("losses", []),
        left=document.get("left", []),
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
    """Bring further nodes into a running cluster; returns their names. They stand for nodes that were lost before.

    Raises what the phases raise; then the cluster is as it was.
    """
    with state.locked():
        up = context_of(state, launcher, report)
        run(phases(lambda: find(launcher)), up, report)
        names = [node.name for node in up.nodes]
        up.losses = losses.replaced(up.losses, [name for name in names if name not in up.missing])
        document = state.read()
        phase = "degraded" if losses.missing(up.losses) else document["phase"]
        state.write({**document, "losses": up.losses, "phase": phase})
        return names


def remove(
    state: ClusterState,
    report: Report,
    program: Path,
    names: Sequence[str],
    *,
    drain_seconds: int = DRAIN_SECONDS,
    force: bool = False,
) -> None:
    """Drain nodes, end them and forget them: their address and number are free for others.

    A node's keys were nowhere but in its own memory, so with it they are gone; its peers drop its public key, and no
    packet of it is taken any more. With `force` nothing waits for a node: its pods are deleted as they are, and a host
    that does not answer is left for `down`, or for `add` when it comes back. Raises `UsageError` for a name that is no
    node, or the control plane's; without `force` also `UsernetesError` for a node that is gone.
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
            leaving = [members[name] for name in names]
            gone, silent = silence(launcher, leaving)
            if gone and not force:
                name, why = next(iter(gone.items()))
                raise UsernetesError(
                    f"it cannot be drained: {why}", node=name, remedy=f"usernetes remove {','.join(names)} --force"
                )
            up = context_of(state, launcher, report)
            api = state.api()
            for name in names:
                if not force:
                    try:
                        drain(state, document, name, drain_seconds)
                        report.line(f"{name}: cordoned and drained")
                    except UsernetesError as refused:
                        report.line(f"  warning: {name} could not be drained: {refused}")
                api.delete({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
                if force:
                    report.line(f"{name}: {evict(api, name)} pods were deleted as they were")
            api.close()
            up.existing = [node for node in up.existing if node["name"] not in names]
            told = change_network(launcher, members.values(), peers_without(up))
            for name, error in told.failures.items():
                report.line(f"  warning: {name} could not be told that its peers left: {error}")
            ended = stop_nodes(launcher, document, [member for member in leaving if member.host.name not in silent])
            for name, error in ended.failures.items():
                report.line(f"  warning: {name} could not be told to end: {error}")
            # A node of a batch job ends with its host or job; any other may live on where we cannot reach it.
            left = {*silent, *ended.failures} if not launcher.ends_with_host else set()
            launcher.release([name for name in names if name not in left])
            lost = losses.taken_out(up.losses, gone)
            state.write(
                {
                    **document,
                    "phase": "degraded" if losses.missing(lost) else document["phase"],
                    "launcher": dict(launcher.to_state()),
                    "nodes": list(up.existing),
                    "givenUp": _without(document["givenUp"], names),
                    "losses": lost,
                    "left": [*up.left, *(node for node in document["nodes"] if node["name"] in left)],
                }
            )
            for name in sorted(left):
                report.line(f"  {name}: {members[name].directory} may still be there; `usernetes down` tries again")
            report.line(f"{', '.join(names)} left; {len(up.existing)} nodes stay")
        finally:
            launcher.close()


def silence(launcher: Launcher, members: Sequence[RecordedNode]) -> tuple[dict[str, str], set[str]]:
    """Which nodes are gone, each with the reason, and those of them whose host does not answer."""
    outcome = ask_nodes(launcher, members, brief=True)
    gone = {name: str(error).partition("\n")[0] for name, error in outcome.failures.items()}
    gone |= {
        name: f"its node has ended: {explain(answer)}"
        for name, answer in outcome.results.items()
        if not (answer.get("keeper") or {}).get("alive")
    }
    return gone, set(outcome.failures)


def evict(api: Api, node: str) -> int:
    """Delete the pods of a node that nobody hears from, so that others take their place at once; returns how many."""
    pods = api.get(f"/api/v1/pods?fieldSelector=spec.nodeName={node}")["items"]
    for pod in pods:
        api.delete({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}, grace=0)
    return len(pods)


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
