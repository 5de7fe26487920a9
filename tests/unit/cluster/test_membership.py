"""Members move along one table; nobody is forgotten who may have something on a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.cluster.made_up import SINCE, member
from usernetes_deploy.cluster.membership import MOVES, Member, Membership, State, may_be_there
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Host


def members(**states: State) -> Membership:
    """Nodes 0, 1 ... in these states; those that were never placed have no place."""
    made = [member(index, state) for index, state in enumerate(states.values())]
    return Membership(replace(one, place=None) if one.state is State.PLANNED else one for one in made)


def names(found: list[Member]) -> list[str]:
    return [one.name for one in found]


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("end", State)
def test_only_the_moves_of_the_table_are_made(start: State, end: State) -> None:
    moved = members(node0=start)
    if end is start:
        moved.move("node0", end)
        assert moved["node0"].since == SINCE
    elif end in MOVES[start]:
        moved.move("node0", end)
        assert (moved["node0"].state, moved["node0"].since != SINCE) == (end, True)
    else:
        with pytest.raises(UsernetesError, match=f"node0: it is {start} and cannot become {end}"):
            moved.move("node0", end)
        assert moved["node0"].state is start


def test_an_illegal_move_of_one_moves_none() -> None:
    moved = members(node0=State.STARTED, node1=State.PLACED)
    with pytest.raises(UsernetesError, match="node1: it is placed and cannot become ready"):
        moved.move(["node0", "node1"], State.READY)
    assert moved["node0"].state is State.STARTED


def test_every_state_can_be_reached_and_all_but_one_can_be_left() -> None:
    reached = {state for moves in MOVES.values() for state in moves}
    assert reached == set(State) - {State.PLANNED}
    assert [state for state in State if not MOVES[state]] == [State.LEFT]


ALL = dict(zip((f"node{index}" for index in range(9)), State, strict=True))


def test_who_is_meant_by_each_question() -> None:
    found = members(**ALL)
    state = {one.name: str(one.state) for one in found}
    assert [state[name] for name in names(found.running())] == ["started", "ready"]
    assert [state[name] for name in names(found.present())] == [
        "placed", "started", "ready", "given-up", "lost", "stopped", "leaving",
    ]  # fmt: skip
    assert [state[name] for name in names(found.to_stop())] == [
        "started", "ready", "given-up", "lost", "stopped", "leaving",
    ]  # fmt: skip
    assert [state[name] for name in names(found.peers_of(["node2"]))] == ["ready", "given-up", "lost"]
    assert found.given_up() == {"node4": ""}


def test_what_was_given_up_before_it_was_started_has_nothing_on_its_host_and_its_number_is_free() -> None:
    found = members(node0=State.READY, node1=State.PLACED)
    found.move("node1", State.GIVEN_UP, "no room")
    assert (found["node1"].place, found.given_up(), names(found.to_stop())) == (None, {"node1": "no room"}, ["node0"])
    assert next(found.free_numbers()) == 1
    found.join([Member("node1", 1, Host("node1"))])
    assert found["node1"].state is State.PLANNED


def test_who_may_have_something_on_its_host_is_neither_forgotten_nor_joined_again() -> None:
    for state in State:
        found = members(node0=state)
        if may_be_there(found["node0"]):
            with pytest.raises(UsernetesError, match="something of it may be on its host"):
                found.forget(["node0"])
            with pytest.raises(UsageError, match="already nodes of the cluster: node0"):
                found.join([Member("node0", 0, Host("node0"))])
        else:
            found.join([Member("node0", 0, Host("node0"))])
            found.forget(["node0"])
            assert len(found) == 0
    silent = Membership([replace(member(1, State.LEFT), silent=True)])
    with pytest.raises(UsernetesError, match="something of it may be on its host"):
        silent.forget(["node1"])
    assert (names(silent.silent()), silent.present()) == (["node1"], [])


def test_numbers_of_nodes_that_left_are_given_again_the_lowest_first() -> None:
    found = members(node0=State.READY, node1=State.LEFT, node2=State.READY, node3=State.LEAVING)
    numbers = found.free_numbers()
    assert [next(numbers) for _ in range(3)] == [1, 4, 5]


def test_the_control_plane_is_found_and_a_name_that_is_none_says_which_there_are() -> None:
    found = members(node0=State.READY, node1=State.READY, node2=State.LEFT)
    assert (found.first.name, found.named("node1").index) == ("node0", 1)
    with pytest.raises(UsageError, match="the cluster has no node node2; its nodes are node0, node1"):
        found.named("node2")


def test_a_loss_is_noted_once_and_one_that_is_back_is_forgotten() -> None:
    found = members(node0=State.READY, node1=State.READY)
    fresh, back = found.note_lost({"node1": "its broker is lost"})
    assert (names(fresh), back, found["node1"].why) == (["node1"], [], "its broker is lost")
    assert found["node1"].lost == found["node1"].since
    assert found.note_lost({"node1": "its broker is lost"}) == ([], [])
    assert found.phase() == "degraded"
    fresh, back = found.note_lost({})
    assert (fresh, names(back)) == ([], ["node1"])
    assert (found["node1"].lost, found["node1"].why, found.phase()) == ("", "", "running")


def test_newcomers_stand_for_those_that_were_lost_the_longest_gone_first() -> None:
    gone = [
        replace(member(index, State.LEFT), lost=SINCE, since=f"2026-01-0{9 - index}T00:00:00+00:00")
        for index in (1, 2, 3)
    ]
    found = Membership([member(0), *gone])
    assert (names(found.unreplaced()), found.phase()) == (["node3", "node2", "node1"], "degraded")
    found.replace_lost(["new1", "new2"])
    assert [found[name].replaced_by for name in ("node3", "node2", "node1")] == ["new1", "new2", ""]
    found.replace_lost(["new3", "new4"])
    assert (found.unreplaced(), found.phase()) == ([], "running")


def test_a_person_who_removed_a_node_by_force_misses_none() -> None:
    assert members(node0=State.READY, node1=State.LEFT).phase() == "running"


def test_a_cluster_with_a_stopped_node_is_stopped_whatever_else_its_members_are() -> None:
    assert members(node0=State.STOPPED, node1=State.GIVEN_UP).phase() == "stopped"
    assert members(node0=State.STOPPED, node1=State.LOST).phase() == "stopped"


def test_a_place_that_is_not_there_is_an_error_that_names_the_member() -> None:
    with pytest.raises(UsernetesError, match="node0: it is planned and has no place on its host"):
        _ = members(node0=State.PLANNED)["node0"].directory
