"""The caretaker takes out what two witnesses miss, replaces it where there is room, and touches nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, recorded
from usernetes_deploy.cluster.membership import Member, Membership, State
from usernetes_deploy.cluster.record import losses_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.jobs import losses as flux_losses
from usernetes_deploy.jobs.losses import Caretaker


def named(name: str, index: int) -> Member:
    return dataclasses.replace(member(index), name=name)


class World:
    """Three nodes; what Flux and the API miss, and the hosts that are free."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = ClusterState(root, "c")
        self.state.create()
        self.write(Membership(named(f"n{index}", index) for index in range(3)))
        self.lost: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.unready: set[str] = set()
        self.free = ["n3"]
        self.told: list[str] = []
        self.asked_api = 0
        monkeypatch.setattr(ClusterState, "api", lambda _: self)
        monkeypatch.setattr(flux_losses, "API_SECONDS", 0.0)

    def get(self, path: str) -> Any:
        self.asked_api += 1
        ready = [{"type": "Ready", "status": "True"}]
        there = self.nodes()
        return {
            "items": [
                {"metadata": {"name": name}, "status": {"conditions": ready if name not in self.unready else []}}
                for name in there
            ]
        }

    def close(self) -> None:
        """As an API has it."""

    def gone(self, suspects: Collection[str]) -> Mapping[str, str]:
        return {**self.lost, **{name: why for name, why in self.ended.items() if name in suspects}}

    def members(self) -> Membership:
        return self.state.record().members

    def write(self, members: Membership) -> None:
        self.state.write(recorded(members).document())

    def remove(self, names: Sequence[str]) -> None:
        members = self.members()
        members.move(names, State.LEAVING)
        members.move(names, State.LEFT)
        self.write(members)

    def replace(self, count: int) -> list[str]:
        came = [self.free.pop(0) for _ in range(min(count, len(self.free)))]
        members = self.members()
        numbers = members.free_numbers()
        members.join([named(name, next(numbers)) for name in came])
        members.replace_lost(came)
        self.write(members)
        return came

    def caretaker(self, replace: bool = True) -> Caretaker:
        return Caretaker(self.state, self.gone, self.remove, self.replace if replace else None, self.told.append)

    def nodes(self) -> list[str]:
        return [member.name for member in self.members().present()]

    def actions(self) -> list[str]:
        return [loss["action"] for loss in losses_of(self.members())]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_nothing_is_done_while_all_is_well(world: World) -> None:
    assert not world.caretaker().notices()
    assert world.told == []


def test_a_lost_broker_is_said_at_once_and_its_node_removed_when_the_api_misses_it_too(world: World) -> None:
    caretaker = world.caretaker(replace=False)
    world.lost = {"n2": "the broker is lost"}
    assert caretaker.notices()
    caretaker.act()
    assert (world.nodes(), world.actions()) == (["n0", "n1", "n2"], ["waiting"])
    assert world.told == ["n2 is lost: the broker is lost"]
    world.unready = {"n2"}
    caretaker.act()
    assert (world.nodes(), world.actions()) == (["n0", "n1"], ["removed"])


def test_a_free_host_takes_its_place(world: World) -> None:
    world.lost, world.unready = {"n2": "the broker is lost"}, {"n2"}
    world.caretaker().act()
    assert (world.nodes(), world.actions()) == (["n0", "n1", "n3"], ["replaced"])
    assert world.told[-1] == "in place of lost nodes: n3"


def test_a_host_that_becomes_free_later_is_taken_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flux_losses, "RETRY_SECONDS", 0.0)
    world.lost, world.unready, world.free = {"n2": "the broker is lost"}, {"n2"}, []
    caretaker = world.caretaker()
    caretaker.act()
    assert world.told[-1] == "no free host replaces a lost one"
    world.lost, world.free = {}, ["n9"]
    assert caretaker.notices()
    caretaker.act()
    assert (world.nodes(), world.actions()) == (["n0", "n1", "n9"], ["replaced"])


def test_a_replacement_that_fails_is_said_and_tried_again_only_after_a_while(world: World) -> None:
    def fails(count: int) -> list[str]:
        raise UsernetesError("n3 is not fit")

    world.lost, world.unready = {"n2": "the broker is lost"}, {"n2"}
    caretaker = world.caretaker()
    caretaker.replace = fails
    caretaker.act()
    assert world.told[-1] == "a lost node could not be replaced: n3 is not fit"
    world.lost = {}
    assert not caretaker.notices()


def test_a_node_that_has_ended_beside_a_living_broker_is_lost_as_well(world: World) -> None:
    world.ended = {"n1": "its node has ended"}
    caretaker = world.caretaker(replace=False)
    assert not caretaker.notices()
    world.unready = {"n1"}
    assert caretaker.notices()
    caretaker.act()
    assert (world.nodes(), world.actions()) == (["n0", "n2"], ["removed"])


def test_one_that_was_given_up_and_has_ended_is_replaced_as_well(world: World) -> None:
    members = [named("n0", 0), named("n1", 1), dataclasses.replace(member(2, State.GIVEN_UP), name="n2")]
    world.write(Membership(members))
    world.ended, world.unready = {"n2": "its node has ended"}, {"n2"}
    world.caretaker().act()
    assert (world.nodes(), world.actions()) == (["n0", "n1", "n3"], ["replaced"])


def test_a_node_that_is_not_ready_but_lives_is_left_alone(world: World) -> None:
    world.unready = {"n1"}
    world.caretaker().act()
    assert (world.nodes(), world.actions(), world.told) == (["n0", "n1", "n2"], [], [])


def test_a_broker_that_comes_back_is_said_to_be_back(world: World) -> None:
    caretaker = world.caretaker()
    world.lost = {"n2": "the broker is lost"}
    caretaker.act()
    world.lost = {}
    caretaker.act()
    assert world.actions() == []
    assert world.told[-1] == "n2 is back"


def test_the_node_of_the_control_plane_is_never_removed(world: World) -> None:
    world.lost, world.unready = {"n0": "the broker is lost"}, {"n0"}
    world.caretaker().act()
    assert world.nodes() == ["n0", "n1", "n2"]


def test_what_cannot_be_stopped_is_left_out_before_the_end(world: World) -> None:
    world.lost = {"n2": "the broker is lost"}
    world.caretaker().drop()
    assert world.nodes() == ["n0", "n1"]
