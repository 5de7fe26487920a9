"""The nodes that are there learn of those that come, silence is said, and all of it can be taken back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, plan, recorded
from tests.unit.made_up import FakeApi
from tests.unit.phases.made_up import make
from usernetes_deploy.changes.context import BringUp, Found
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import NodeFailures, TimedOut
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher
from usernetes_deploy.phases.update_peers import UpdatePeers


class Told:
    """An `add` of node3 to three nodes, the last of which is lost; what each is told, last of all."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.peers: dict[str, list[str]] = {}
        self.silent: set[str] = set()
        self.api = FakeApi({})
        monkeypatch.setattr(ClusterState, "api", lambda *_, **__: self.api)
        monkeypatch.setattr(FakeLauncher, "run", lambda _, *words, **options: self.hear(*words, **options))
        self.up: BringUp = make(tmp_path, 4)
        self.up.record = recorded([member(0), member(1), member(2, State.LOST), member(3, State.PLACED)])
        self.up.found = Found(self.up.launcher.hosts()[3:], {})
        self.up.plan = plan(list(self.up.members))

    def hear(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", **__: Any) -> Completed:
        if host.name in self.silent:
            raise TimedOut("no answer", node=host.name)
        self.peers[host.name] = sorted(peer["name"] for peer in json.loads(stdin)["peers"])
        return Completed(argv, 0, "", "")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(tmp_path, monkeypatch)


def test_all_that_are_there_are_told_and_the_newcomer_is_not(told: Told) -> None:
    run([UpdatePeers()], told.up, told.up.report)
    assert set(told.peers) == {"node0", "node1", "node2"}
    assert told.peers["node1"] == ["node0", "node2", "node3"]
    assert [item["kind"] for item in told.api.applied] == ["ConfigMap"]
    UpdatePeers().undo(told.up)
    assert told.peers["node1"] == ["node0", "node2"]


def test_one_that_is_silent_is_said_and_keeps_nobody_from_growing_but_the_first_does(told: Told) -> None:
    told.silent = {"node2"}
    run([UpdatePeers()], told.up, told.up.report)
    said: str = told.up.report.stream.getvalue()  # type: ignore[attr-defined]
    assert "warning: node2 could not be told its new peers" in said
    told.silent = {"node0"}
    with pytest.raises(NodeFailures, match="node0: no answer"):
        run([UpdatePeers()], told.up, told.up.report)


def test_a_new_cluster_has_nobody_to_tell(told: Told) -> None:
    told.up.record = replace(told.up.record, members=recorded([member(3)]).members)
    run([UpdatePeers()], told.up, told.up.report)
    assert told.peers == {}
