"""What stays in the record when `add` fails: nodes that may still run, and what the cluster was before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, recorded
from tests.unit.phases.made_up import make
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.membership import Member, State
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher
from usernetes_deploy.phases.check_nodes import CheckNodes
from usernetes_deploy.phases.connect_further import ConnectFurther
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.record_growth import RecordGrowth
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes


class Fails:
    """A phase that comes after the nodes were started; it remembers what the record said then."""

    title = "fail"

    def __init__(self) -> None:
        self.record: dict[str, State] = {}

    def check(self, _: BringUp) -> bool:
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Fail."""
        self.record = states(up)
        raise UsernetesError("no luck")

    def undo(self, _: BringUp) -> None:
        """Nothing."""


def states(up: BringUp) -> dict[str, State]:
    """Who is in the record, and in which state."""
    return {one.name: one.state for one in members_of(up.state.read())}


def other(index: int, state: State) -> Member:
    """A node that was there before."""
    return replace(member(index, state), name=f"old{index}", host=Host(f"old{index}"))


def begun(tmp_path: Path, *before: Member) -> BringUp:
    """An `add` of two hosts to a cluster of these nodes."""
    up = make(tmp_path, 2)
    up.find = up.launcher.hosts
    up.record = recorded(before)
    up.state.create()
    up.state.write_secret("secrets.json", Identities.make().to_secret())
    up.save()
    return up


def grown(up: BringUp) -> Fails:
    """It fails when its nodes are started."""
    last = Fails()
    phases: Sequence[Any] = (
        ConnectFurther(),
        ProbeNodes(),
        CheckNodes(),
        RecordGrowth(),
        StageBundle(),
        PlanNetwork(),
        IssueCredentials(),
        StartNodes(),
        last,
    )
    with pytest.raises(UsernetesError, match="no luck"):
        run(phases, up, up.report)
    return last


def test_nodes_that_could_not_be_stopped_stay_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = FakeLauncher.run

    def silent_at_the_end(self: FakeLauncher, host: Host, argv: Sequence[str], **options: Any) -> Completed:
        if "stop" in argv and host.name == "node1":
            raise TimedOut("no answer", node=host.name)
        return ask(self, host, argv, **options)

    monkeypatch.setattr(FakeLauncher, "run", silent_at_the_end)
    up = begun(tmp_path, other(0, State.READY))
    grown(up)
    assert states(up) == {"old0": State.READY, "node1": State.LEAVING}
    assert up.state.read()["phase"] == "degraded"
    assert members_of(up.state.read())["node1"].public_key  # its peers may have to know it
    assert "node1 stay in the record, for they may still run" in up.report.stream.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("state", "phase"), [(State.READY, "running"), (State.GIVEN_UP, "degraded")])
def test_what_the_cluster_was_before_it_is_again(tmp_path: Path, state: State, phase: str) -> None:
    up = begun(tmp_path, other(0, State.READY), other(1, state))
    last = grown(up)
    assert last.record == {"old0": State.READY, "old1": state, "node0": State.STARTED, "node1": State.STARTED}
    assert states(up) == {"old0": State.READY, "old1": state}
    assert up.state.read()["phase"] == phase


def test_a_start_is_in_the_record_before_any_host_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = begun(tmp_path, other(0, State.READY))
    seen: list[dict[str, State]] = []
    start = FakeLauncher.start

    def look(self: FakeLauncher, host: Host, argv: Sequence[str], *, stdin: bytes) -> Any:
        seen.append(states(up))
        return start(self, host, argv, stdin=stdin)

    monkeypatch.setattr(FakeLauncher, "start", look)
    grown(up)
    assert [found[name] for found in seen for name in ("node0", "node1")] == [State.STARTED] * 4


def test_the_rest_of_an_add_that_was_killed_before_its_start_is_in_nobodys_way(tmp_path: Path) -> None:
    killed = replace(member(3, State.PLACED), name="node1", host=Host("node1"))
    up = begun(tmp_path, other(0, State.READY), killed)
    grown(up)
    assert states(up) == {"old0": State.READY}


def test_a_host_that_could_not_come_again_is_missed_as_before(tmp_path: Path) -> None:
    gone = replace(other(2, State.LEFT), name="node0", lost="2026-01-02T03:04:05+00:00", why="its broker is lost")
    unfit = replace(other(3, State.GIVEN_UP), name="node1", place=None, why="not fit")
    up = begun(tmp_path, other(0, State.READY), gone, unfit)
    last = grown(up)
    assert last.record["node0"] == last.record["node1"] == State.STARTED
    members = members_of(up.state.read())
    assert (members.unreplaced(), members.given_up()) == (
        [replace(gone, host=members["node0"].host)],
        {"node1": "not fit"},
    )
    assert up.state.read()["phase"] == "degraded"
