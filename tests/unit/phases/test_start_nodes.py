"""Starting: written down before any host is told; what cannot be started is given up, or taken back with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.phases.made_up import make
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import Phase, run
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import NodeFailures, TimedOut, UsernetesError
from usernetes_deploy.launch.base import Host
from usernetes_deploy.launch.fake import FakeLauncher
from usernetes_deploy.phases.start_nodes import StartNodes

TITLES = [phase.title for phase in bringup.UP]
UNTIL_START: Sequence[Phase[BringUp]] = bringup.UP[: TITLES.index(StartNodes.title) + 1]


def begin(up: BringUp) -> None:
    """All phases to the start of the nodes."""
    try:
        run(UNTIL_START, up, up.report)
    finally:
        if up.report.log:
            up.report.log.close()
            up.report.log = None


def fake(up: BringUp) -> FakeLauncher:
    assert isinstance(up.launcher, FakeLauncher)
    return up.launcher


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """The start of one node fails."""
    start = FakeLauncher.start

    def fails(launcher: FakeLauncher, host: Host, argv: Sequence[str], *, stdin: bytes) -> Any:
        if host.name == name:
            raise error
        return start(launcher, host, argv, stdin=stdin)

    monkeypatch.setattr(FakeLauncher, "start", fails)


def stops(up: BringUp) -> dict[str, bool]:
    """Who was told to stop, and whether its start may still come."""
    return {call.host: "--late" in call.argv for call in fake(up).calls if "stop" in call.argv}


def test_every_node_has_its_handle_in_the_record(tmp_path: Path) -> None:
    up = make(tmp_path)
    begin(up)
    members = up.state.record().members
    assert [member.state for member in members] == [State.STARTED] * 3
    assert [member.handle["pid"] for member in members] == [1000, 1001, 1002]
    assert all(member.public_key for member in members)


def test_no_host_is_told_when_it_cannot_be_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = make(tmp_path)
    write = ClusterState.write

    def full(state: ClusterState, document: Any) -> None:
        if any(member["state"] == State.STARTED for member in document["members"]):
            raise UsernetesError("No space left on device", tried="write cluster.json")
        write(state, document)

    monkeypatch.setattr(ClusterState, "write", full)
    with pytest.raises(UsernetesError, match="No space left"):
        begin(up)
    assert not [call for call in fake(up).calls if call.verb == "start"]
    assert not up.state.exists()


def test_one_that_cannot_be_started_is_given_up_and_may_have_left_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = make(tmp_path, minNodes=2)
    failing(monkeypatch, "node2", OSError(28, "No space left on device"))
    begin(up)
    gone = up.state.record().members["node2"]
    assert (gone.state, gone.why) == (State.GIVEN_UP, "[Errno 28] No space left on device")
    assert gone in up.state.record().members.to_stop()


@pytest.mark.parametrize(
    ("error", "late"), [(TimedOut("no answer", node="node1"), True), (UsernetesError("refused", node="node1"), False)]
)
def test_a_start_that_may_still_come_is_told_that_it_is_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, late: bool
) -> None:
    up = make(tmp_path)
    failing(monkeypatch, "node1", error)
    with pytest.raises(NodeFailures, match="node1: "):
        begin(up)
    assert stops(up) == {"node0": False, "node1": late, "node2": False}
    assert fake(up).running() == []
    assert not up.state.exists()
