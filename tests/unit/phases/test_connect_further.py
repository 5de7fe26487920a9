"""Hosts that are to join: none twice, the lowest free number each, and what they still have is ended first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cluster.made_up import member, recorded
from tests.unit.phases.made_up import make
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster.membership import Member, State
from usernetes_deploy.errors import NodeFailures, UsageError
from usernetes_deploy.launch.base import Host
from usernetes_deploy.launch.fake import Behaviour, FakeLauncher
from usernetes_deploy.phases.connect_further import ConnectFurther


def joining(tmp_path: Path, *there: Member, **behaviours: Behaviour) -> BringUp:
    """An `add` of node1 and node2 to a cluster of these members."""
    up = make(tmp_path, 3, behaviours=behaviours)
    up.record = recorded(there)
    up.find = lambda: up.launcher.hosts()[1:]
    return up


def stopped(up: BringUp) -> list[str]:
    assert isinstance(up.launcher, FakeLauncher)
    return [call.host for call in up.launcher.calls if "stop" in call.argv]


def test_each_gets_the_lowest_number_that_is_free(tmp_path: Path) -> None:
    up = joining(tmp_path, member(0), replace(member(2), name="other", host=Host("other")))
    run([ConnectFurther()], up, up.report)
    assert {one.name: one.index for one in up.newcomers} == {"node1": 1, "node2": 3}
    assert [one.name for one in up.others] == ["node0", "other"]
    assert up.control_plane is None
    assert set(up.found.ports) == {"node1", "node2"}


@pytest.mark.parametrize("state", [State.STARTED, State.READY, State.GIVEN_UP, State.LOST, State.LEAVING])
def test_a_host_that_may_have_a_node_is_refused(tmp_path: Path, state: State) -> None:
    up = joining(tmp_path, member(0), member(1, state))
    with pytest.raises(UsageError, match="already nodes of the cluster: node1"):
        run([ConnectFurther()], up, up.report)
    assert up.members["node1"].state is state


def test_one_that_was_given_up_before_its_start_may_come_again(tmp_path: Path) -> None:
    up = joining(tmp_path, member(0), replace(member(1, State.GIVEN_UP), place=None, why="not fit"))
    run([ConnectFurther()], up, up.report)
    assert up.members["node1"].state is State.PLANNED
    assert up.members.given_up() == {}
    assert stopped(up) == []


def test_what_a_host_still_has_of_the_node_that_left_without_an_answer_is_ended_first(tmp_path: Path) -> None:
    left = replace(member(1, State.LEFT), silent=True)
    up = joining(tmp_path, member(0), left)
    run([ConnectFurther()], up, up.report)
    assert stopped(up) == ["node1"]
    assert not up.members["node1"].silent
    silent = joining(tmp_path / "silent", member(0), left, node1=Behaviour(down="No route to host"))
    with pytest.raises(NodeFailures, match="No route to host"):
        run([ConnectFurther()], silent, silent.report)
    assert silent.members["node1"].silent


def test_names_that_kubernetes_would_refuse_are_refused(tmp_path: Path) -> None:
    up = joining(tmp_path, member(0))
    up.find = lambda: [Host("Not_A_Name")]
    with pytest.raises(UsageError, match="Not_A_Name"):
        run([ConnectFurther()], up, up.report)
