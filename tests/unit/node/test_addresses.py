"""A host's address changes under a running node: what is told to whom, and in which order."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import addresses
from usernetes_deploy.node.addresses import Addresses


class World:
    """An interface, the API's labels, and what was done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, follows: bool = True) -> None:
        self.there = ["192.0.2.11"]
        self.labels: dict[str, str] = {}
        self.done: list[tuple[Any, ...]] = []
        self.refuses = False
        monkeypatch.setattr(addresses, "of_interface", lambda _name: self.there)
        self.node = Addresses(
            "n1", "eth0", "192.0.2.11", threading.Event(), follows=follows, tell=self.tell, change=self.change,
            lost=lambda words: self.done.append(("lost", words)), listed=lambda: dict(self.labels),
        )  # fmt: skip

    def tell(self, address: str) -> None:
        if self.refuses:
            raise UsernetesError("no answer")
        self.done.append(("tell", address))
        self.labels["n1"] = address

    def change(self, own: str, peers: Mapping[str, str]) -> None:
        self.done.append(("change", own, dict(peers)))

    def look(self) -> list[tuple[Any, ...]]:
        self.done = []
        self.node.reconcile()
        return self.done


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_while_nothing_moves_nothing_is_done(world: World) -> None:
    assert world.look() == world.look() == []
    world.there = ["192.0.2.11", "198.51.100.1"]  # a further address is nobody's business
    assert world.look() == []


def test_a_new_address_is_told_before_the_network_uses_it_and_once(world: World) -> None:
    world.there = ["192.0.2.44"]
    assert world.look() == [("tell", "192.0.2.44"), ("change", "192.0.2.44", {})]
    assert world.look() == []


def test_the_way_back_is_told_as_well(world: World) -> None:
    for address in ("192.0.2.44", "192.0.2.11"):
        world.there = [address]
        assert world.look() == [("tell", address), ("change", address, {})]


def test_between_two_leases_the_old_address_stays_in_use(world: World) -> None:
    world.there = []
    assert world.look() == []


def test_a_node_that_was_away_while_it_moved_back_corrects_its_label(world: World) -> None:
    world.labels["n1"] = "192.0.2.44"
    assert world.look() == [("tell", "192.0.2.11")]


def test_an_api_that_does_not_answer_keeps_no_tunnel_waiting_and_is_told_later(world: World) -> None:
    world.there, world.refuses = ["192.0.2.44"], True
    with pytest.raises(UsernetesError):
        world.look()
    assert world.done == [("change", "192.0.2.44", {})]
    world.refuses = False
    assert world.look() == [("tell", "192.0.2.44")]


def test_peers_that_moved_are_used_once(world: World) -> None:
    world.labels["n2"] = "192.0.2.99"
    assert world.look() == [("change", "192.0.2.11", {"n2": "192.0.2.99"})]
    assert world.look() == []


def test_a_control_plane_says_that_it_cannot_follow_and_when_its_address_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, follows=False)
    world.there = ["192.0.2.44"]
    ((kind, words),) = world.look()
    assert kind == "lost"
    assert "192.0.2.11 is gone from eth0 (now: 192.0.2.44)" in words
    assert "usernetes down and up" in words
    world.there = ["192.0.2.11"]
    assert world.look() == [("lost", "")]


def test_an_interface_that_is_not_there_has_no_address() -> None:
    assert addresses.of_interface("no-such-if") == []


def test_this_machines_own_words_are_understood() -> None:
    text = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, check=True).stdout
    assert "127.0.0.1" in addresses.parse(json.loads(text))
