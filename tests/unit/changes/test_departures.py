"""`remove` and `down`: who leaves is written down first, what goes wrong leaves a record that both can go on from."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member
from tests.unit.made_up import MadeUp
from usernetes_deploy.api import ApiError
from usernetes_deploy.changes import bringup, growth
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster.membership import Member, Membership, State
from usernetes_deploy.cluster.record import losses_of, members_of, written
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import NodeFailures, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher

PROGRAM = Path("node.pyz")


class World:
    """A cluster of two nodes, and what was done to it, each with the states of that moment."""

    def __init__(self, made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made_up, self.state = made_up, made_up.state
        self.done: list[tuple[str, str]] = []
        self.broken: dict[str, Exception] = {}
        self.report = Report(io.StringIO())
        ask = FakeLauncher.run

        def run(launcher: FakeLauncher, host: Host, argv: Sequence[str], **options: Any) -> Completed:
            verb = next(word for word in argv if word in ("status", "network", "stop", "logs"))
            if verb in ("network", "stop"):
                self.note(f"{verb} {host.name}")
            if f"{verb} {host.name}" in self.broken:
                raise self.broken[f"{verb} {host.name}"]
            return ask(launcher, host, argv, **options)

        def drain(argv: Sequence[str], **_: Any) -> Any:
            self.note(f"drain {argv[3]}")
            return subprocess.CompletedProcess(argv, 1 if "drain" in self.broken else 0, "", "budget")

        monkeypatch.setattr(FakeLauncher, "run", run)
        monkeypatch.setattr("usernetes_deploy.cluster.kubectl.subprocess.run", drain)
        monkeypatch.setattr(ClusterState, "api", lambda *_, **__: self)
        for module in (growth, bringup):
            monkeypatch.setattr(module, "launcher_from_state", lambda *_: made_up.launcher)

    def get(self, path: str) -> Any:
        """The API knows two pods on each node."""
        named = {"kind": "Pod", "metadata": {"name": "p", "namespace": "default"}}
        return {"items": [named, named]} if "fieldSelector" in path else {"data": {}}

    def delete(self, manifest: dict[str, Any], grace: int | None = None) -> None:
        """As the API's."""
        if "delete" in self.broken:
            raise self.broken["delete"]
        if manifest["kind"] == "Node":
            self.note(f"delete {manifest['metadata']['name']}")

    def close(self) -> None:
        """As the API's."""

    def note(self, what: str) -> None:
        """Something is done; in which state is the second node then?"""
        states = self.states()
        self.done.append((what, str(states.get("node1", "unknown"))))

    def members(self) -> Membership:
        return members_of(self.state.read())

    def states(self) -> dict[str, State]:
        return {one.name: one.state for one in self.members()}

    def further(self, *members: Member) -> None:
        document = self.state.read()
        self.state.write({**document, "members": written(Membership([*members_of(document), *members]))})

    def remove(self, *names: str, force: bool = False) -> None:
        growth.remove(self.state, self.report, PROGRAM, names or ("node1",), force=force)

    def down(self) -> int:
        return bringup.down(self.state, self.report, PROGRAM)

    def said(self) -> str:
        return self.report.stream.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def world(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(made_up, monkeypatch)


def test_a_node_is_leaving_before_anything_is_done_to_it_and_forgotten_when_it_has_ended(world: World) -> None:
    world.remove()
    leaving = ["drain node1", "delete node1", "network node0", "stop node1"]
    assert world.done == [(what, "leaving") for what in leaving]
    assert world.states() == {"node0": State.READY}
    assert world.state.read()["phase"] == "running"
    assert "node1: cordoned and drained" in world.said()
    assert "node1 left; 1 nodes stay" in world.said()


@pytest.mark.parametrize(
    ("name", "why"),
    [("node0", "node0 carries the control plane and cannot leave"), ("node7", "its nodes are node0, node1")],
)
def test_who_cannot_leave_is_refused_before_anything_is_done(world: World, name: str, why: str) -> None:
    before = world.state.read()
    with pytest.raises(UsageError, match=why):
        world.remove(name)
    assert (world.done, world.state.read()) == ([], before)


@pytest.mark.parametrize("gone", ["ended", "silent"])
def test_a_node_that_is_gone_leaves_by_force_alone(world: World, gone: str) -> None:
    if gone == "ended":
        world.made_up.answers["node1"]["keeper"].update(alive=False)
    else:
        world.broken["status node1"] = TimedOut("no answer", node="node1")
    with pytest.raises(UsernetesError, match=r"node1: it cannot be drained: .*\n  fix: usernetes remove node1 --force"):
        world.remove()
    assert (world.done, world.states()["node1"]) == ([], State.READY)
    world.remove(force=True)
    assert ("stop node1", "leaving") in world.done or gone == "silent"
    assert world.members()["node1"].silent == (gone == "silent")
    assert [loss["action"] for loss in losses_of(world.members())] == ["dismissed"]
    assert world.state.read()["phase"] == "running"
    assert "node1: 2 pods were deleted as they were" in world.said()


def test_a_node_that_was_noted_as_lost_is_missed_until_another_replaces_it(world: World) -> None:
    document = world.state.read()
    members = members_of(document)
    members.note_lost({"node1": "its broker is lost"})
    world.state.write({**document, "members": written(members)})
    world.broken["status node1"] = TimedOut("no answer", node="node1")
    world.remove(force=True)
    assert [(loss["action"], loss["why"]) for loss in losses_of(world.members())] == [("removed", "its broker is lost")]
    assert world.state.read()["phase"] == "degraded"


def test_a_removal_that_breaks_off_leaves_the_node_known_and_can_be_gone_on_with(world: World) -> None:
    world.broken["delete"] = ApiError("etcd", 500)
    with pytest.raises(ApiError):
        world.remove()
    assert world.states()["node1"] is State.LEAVING
    assert "node1 did not leave wholly: usernetes remove node1 goes on with it" in world.said()
    world.broken.clear()
    world.remove()
    assert world.states() == {"node0": State.READY}


def test_a_node_that_cannot_be_drained_told_or_stopped_is_said_and_leaves_all_the_same(world: World) -> None:
    world.broken |= {
        "drain": UsernetesError("budget"),
        "network node0": TimedOut("no answer"),
        "stop node1": TimedOut("no answer", node="node1"),
    }
    world.remove()
    assert (world.states()["node1"], world.members()["node1"].silent) == (State.LEFT, True)
    for words in ("node1 could not be drained", "node0 could not be told", "node1 could not be told to end"):
        assert f"warning: {words}" in world.said()
    assert "/var/tmp/usernetes-1/ab-1 may still be there; `usernetes down` tries again" in world.said()


def test_a_node_of_a_batch_job_ends_with_its_host(world: World) -> None:
    world.made_up.launcher.ends_with_host = True
    world.broken["status node1"] = TimedOut("no answer", node="node1")
    world.remove(force=True)
    assert not world.members().silent()


def test_who_was_given_up_before_its_node_was_started_is_forgotten(world: World) -> None:
    world.further(replace(member(2, State.GIVEN_UP), place=None, why="not fit"))
    world.remove("node2")
    assert "node2" not in world.states()
    assert not [what for what, _ in world.done if "node2" in what and not what.startswith("delete")]


def test_down_stops_whoever_may_be_there_and_nobody_else(world: World) -> None:
    world.further(
        member(2, State.PLACED),
        member(3, State.LEAVING),
        replace(member(4, State.GIVEN_UP), place=None),
        member(5, State.LEFT),
    )
    world.made_up.launcher._hosts = tuple(Host(f"node{index}", "", str(index)) for index in range(6))
    world.made_up.launcher._nodes |= {f"node{index}": world.made_up.launcher._nodes["node0"] for index in range(6)}
    assert world.down() == 3
    assert sorted(what for what, _ in world.done) == ["stop node0", "stop node1", "stop node3"]
    assert "3 nodes stopped, nothing left" in world.said()
    assert not world.state.directory.exists()


def test_a_node_that_down_cannot_stop_stays_known_and_is_all_that_is_tried_again(world: World) -> None:
    world.broken["stop node1"] = TimedOut("no answer", node="node1")
    with pytest.raises(NodeFailures, match="node1: no answer"):
        world.down()
    assert world.states() == {"node0": State.LEFT, "node1": State.LEAVING}
    world.broken.clear()
    world.done.clear()
    assert world.down() == 1
    assert world.done == [("stop node1", "leaving")]
    assert not world.state.directory.exists()


def test_a_full_home_keeps_no_node_from_being_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise UsernetesError("No space left on device", tried="write cluster.json")

    monkeypatch.setattr(ClusterState, "write", full)
    assert world.down() == 2
    assert {what for what, _ in world.done} == {"stop node0", "stop node1"}
    assert "warning: write cluster.json: No space left on device" in world.said()


def test_what_left_without_an_answer_is_tried_once_more_by_down(world: World) -> None:
    world.further(replace(member(2, State.LEFT), silent=True, why="no answer"))
    world.made_up.launcher._nodes["node2"] = world.made_up.launcher._nodes["node1"]
    world.broken["stop node2"] = TimedOut("no answer", node="node2")
    assert world.down() == 2
    assert "warning: node2, removed by force, may still have its node" in world.said()
    assert "2 nodes stopped, what node2 may have is not known" in world.said()
    assert not world.state.directory.exists()


def test_a_record_of_another_version_says_how_its_cluster_is_ended(world: World) -> None:
    (world.state.directory / "cluster.json").write_text('{"schema": 1, "nodes": []}')
    with pytest.raises(
        UsernetesError, match=r"record 1, this one reads 2.*\n  fix: usernetes down --cluster demo --force"
    ):
        world.down()
    assert world.state.directory.exists()
