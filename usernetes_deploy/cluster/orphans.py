"""Nodes as they are found on hosts: how `down` ends a cluster whose state directory is not here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster.nodes import STOP_DEADLINE
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import NodeFailures, UsageError
from usernetes_deploy.launch.base import Host, Launcher, on_all
from usernetes_deploy.launch.local import LocalLauncher

CONNECT_SECONDS = 60.0


def find(launcher: Launcher, folder: str | None = None) -> tuple[dict[str, list[Mapping[str, Any]]], dict[str, Any]]:
    """The user's nodes on each host (see `usernetes_deploy.node.verbs.find`), and the hosts that do not answer.

    `folder` is where nodes are, when that is not one of the usual places.
    """

    def ask(host: Host) -> list[Mapping[str, Any]]:
        argv = [*launcher.node_program(host), "find", *([f"--folder={folder}"] if folder else [])]
        return list(json.loads(launcher.run(host, argv, timeout=CONNECT_SECONDS).check(host.name).stdout))

    outcome = on_all(launcher.hosts(), ask, deadline=2 * CONNECT_SECONDS)
    return dict(outcome.results), dict(outcome.failures)


def down(launcher: Launcher, cluster: str | None, report: Report, folder: str | None = None) -> int:
    """End the nodes of `cluster` (of the only one there is) on all hosts; returns how many there were.

    Raises `UsageError` when it is not clear which is meant, `NodeFailures` for hosts where it is not known to be done.
    """
    found, failures = find(launcher, folder)
    names = sorted({str(node["cluster"]) for nodes in found.values() for node in nodes})
    if cluster is None and len(names) > 1:
        raise UsageError(f"which cluster? There are {', '.join(names)}", remedy="--cluster NAME")
    meant = {
        host: [node for node in nodes if node["cluster"] == (cluster or names[0])]
        for host, nodes in found.items()
        if names
    }

    def stop(host: Host) -> None:
        for node in meant[host.name]:
            rootlesskit = f"--rootlesskit={node['bundle']}/bin/rootlesskit"
            argv = [*launcher.node_program(host), "stop", str(node["directory"]), rootlesskit]
            launcher.run(host, argv, timeout=STOP_DEADLINE).check(host.name)

    hosts: Sequence[Host] = [host for host in launcher.hosts() if meant.get(host.name)]
    outcome = on_all(hosts, stop, deadline=STOP_DEADLINE + 5)
    for name in outcome.results:
        report.line(f"{name}: {', '.join(str(node['directory']) for node in meant[name])} removed")
    if failures or outcome.failures:
        raise NodeFailures({**failures, **outcome.failures}, "stop the nodes")
    count = sum(len(nodes) for nodes in meant.values())
    report.line(f"{count} {'node' if count == 1 else 'nodes'} stopped, nothing left")
    return count


def end_unreadable(state: ClusterState, program: Path, report: Report) -> None:
    """End the nodes of a cluster's name on this host, as they are found in their folders, and remove its record."""
    with state.locked():
        down(LocalLauncher(1, program), state.name, report)
        state.remove()
    report.line(f"the record is removed; nodes on other hosts: usernetes down --hosts LIST --cluster {state.name}")
