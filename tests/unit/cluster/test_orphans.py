"""`down` by hosts alone: whose nodes are meant, what is stopped, and what every host said."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import pytest

from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import orphans
from usernetes_deploy.errors import NodeFailures, UsageError
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import Behaviour, FakeLauncher


def launcher(clusters: Mapping[str, Sequence[str]], **behaviours: Behaviour) -> FakeLauncher:
    """Three hosts, with a node of each of these clusters (by host)."""

    def answer(host: Host, argv: Sequence[str], stdin: bytes) -> Completed:
        nodes = [{"cluster": name, "directory": f"/d/{name}", "bundle": "/b"} for name in clusters.get(host.name, ())]
        return Completed(argv, 0, json.dumps(nodes), "")

    return FakeLauncher(3, answers={"find": answer}, behaviours=behaviours)


def stopped(fake: FakeLauncher) -> list[tuple[str, str]]:
    calls = [call for call in fake.calls if "stop" in call.argv]
    assert all(call.argv[-1] == "--rootlesskit=/b/bin/rootlesskit" for call in calls)
    return sorted((call.host, call.argv[-2]) for call in calls)


def test_the_only_cluster_there_is_needs_no_name() -> None:
    fake = launcher({"node0": ["a"], "node2": ["a"]})
    assert orphans.down(fake, None, Report(io.StringIO())) == 2
    assert stopped(fake) == [("node0", "/d/a"), ("node2", "/d/a")]


def test_other_clusters_are_left_alone() -> None:
    fake = launcher({"node0": ["a", "b"], "node1": ["b"]})
    with pytest.raises(UsageError, match="which cluster\\? There are a, b"):
        orphans.down(fake, None, Report(io.StringIO()))
    assert stopped(fake) == []
    assert orphans.down(fake, "b", Report(io.StringIO())) == 2
    assert stopped(fake) == [("node0", "/d/b"), ("node1", "/d/b")]


def test_where_there_is_nothing_nothing_is_done() -> None:
    fake = launcher({})
    assert orphans.down(fake, None, Report(io.StringIO())) == 0
    assert orphans.down(fake, "a", Report(io.StringIO())) == 0


def test_a_host_that_does_not_answer_is_named_and_the_others_are_cleaned() -> None:
    fake = launcher({"node0": ["a"]}, node1=Behaviour(down="No route to host"))
    with pytest.raises(NodeFailures, match="node1: connect: No route to host"):
        orphans.down(fake, "a", Report(io.StringIO()))
    assert stopped(fake) == [("node0", "/d/a")]
