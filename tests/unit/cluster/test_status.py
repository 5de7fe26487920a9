"""What `status` says: one document that fits its schema, whatever is ill, and a page for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.cluster.made_up import SINCE, member
from tests.unit.made_up import DNS, SCHEMA, MadeUp, node_object
from usernetes_deploy.api import ApiError
from usernetes_deploy.cluster import status
from usernetes_deploy.cluster.membership import Member, Membership, State
from usernetes_deploy.cluster.record import members_of, written


def collected(made_up: MadeUp) -> dict[str, Any]:
    """The document, checked against its schema."""
    found = status.collect(made_up.state, Path("node.pyz"))
    jsonschema.validate(found, SCHEMA)
    return found


def test_a_cluster_that_is_well_is_healthy(made_up: MadeUp) -> None:
    found = collected(made_up)
    assert found["healthy"]
    assert [node["ready"] and node["alive"] for node in found["nodes"]] == [True, True]
    assert [node["controlPlane"] for node in found["nodes"]] == [True, False]
    assert found["api"]["latencyMs"] is not None
    assert found["dns"] == DNS
    assert not found["limitsEnforced"]


def ill(change: Callable[[dict[str, Any]], object]) -> Callable[[MadeUp], object]:
    """Change what the second node says of itself."""
    return lambda made_up: change(made_up.answers["node1"]["node"])


def lose(made_up: MadeUp, name: str) -> None:
    """Have a job miss a node."""
    document = made_up.state.read()
    members = members_of(document)
    members.note_lost({name: "its broker is lost"})
    made_up.state.write({**document, "members": written(members)})


def with_members(made_up: MadeUp, *further: Member) -> None:
    """Record members beside the two there are."""
    document = made_up.state.read()
    made_up.state.write({**document, "members": written(Membership([*members_of(document), *further]))})


ILLNESSES: dict[str, tuple[Callable[[MadeUp], object], str]] = {
    "a component that cannot run": (
        ill(lambda node: node["components"][0].update(state="backing off", restarts=3, lastExit="exit code 1")),
        "node1: kubelet was restarted 3 times, last: exit code 1",
    ),
    "a problem of the node": (ill(lambda node: node["problems"].append("image x: not there")), "node1: image x: not"),
    "a node without DNS": (
        ill(lambda node: node.update(dns={**DNS, "ok": False, "ms": None, "error": "no answer"})),
        "NO ANSWER: no answer",
    ),
    "a keeper that has ended": (lambda made_up: made_up.answers["node1"]["keeper"].update(alive=False), "node1  GONE"),
    "a node that is not Ready": (
        lambda made_up: made_up.paths.update(
            {"/api/v1/nodes": {"items": [node_object("node0"), node_object("node1", "Unknown")]}}
        ),
        "node1  NotReady",
    ),
    "a node that the API does not know": (
        lambda made_up: made_up.paths.update({"/api/v1/nodes": {"items": [node_object("node0")]}}),
        "node1  NotReady",
    ),
    "an API that is silent": (
        lambda made_up: made_up.paths.update({"/readyz": ApiError("Connection refused", tried="GET /readyz")}),
        "NOT READY: GET /readyz: Connection refused",
    ),
    "a node that was given up": (
        lambda made_up: with_members(made_up, replace(member(2, State.GIVEN_UP), place=None, why="no answer")),
        "given up: node2: no answer",
    ),
    "a node whose removal was broken off": (
        lambda made_up: with_members(made_up, member(1, State.LEAVING)),
        "node1: it is leaving; fix, when no `remove` is at work any more: usernetes remove node1",
    ),
    "a node that is lost": (
        lambda made_up: lose(made_up, "node1"),
        "lost: node1 at ",
    ),
    "a node that was lost and removed, and nobody replaces": (
        lambda made_up: with_members(made_up, replace(member(2, State.LEFT), lost=SINCE, why="its broker is lost")),
        "node2 at 2026-01-02T03:04:05+00:00: its broker is lost; removed at 2026-01-02T03:04:05+00:00",
    ),
    "no word from a node": (
        lambda made_up: made_up.answers["node1"].update(keeper=None, node=None),
        "node1  GONE",
    ),
}


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (
            replace(member(2, State.LEFT), lost=SINCE, why="lost", replaced_by="node1"),
            "removed, and replaced by node1 at ",
        ),
        (replace(member(2, State.LEFT), why="no answer"), "no answer; removed by force at "),
    ],
)
def test_a_loss_that_is_made_good_or_meant_is_history_and_no_illness(made_up: MadeUp, gone: Member, words: str) -> None:
    with_members(made_up, gone)
    found = collected(made_up)
    assert found["healthy"]
    assert [node["name"] for node in found["nodes"]] == ["node0", "node1"]
    assert words in status.text(found)


@pytest.mark.parametrize(("break_it", "said"), ILLNESSES.values(), ids=ILLNESSES)
def test_whatever_is_ill_is_not_healthy_and_is_said(
    made_up: MadeUp, break_it: Callable[[MadeUp], object], said: str
) -> None:
    break_it(made_up)
    found = collected(made_up)
    assert not found["healthy"]
    page = status.text(found)
    assert "NOT WELL" in page
    assert said in page


@pytest.mark.parametrize("left", [[], ["containerd"]])
def test_a_node_that_is_being_started_is_not_well_though_the_api_calls_it_ready(
    made_up: MadeUp, left: list[str]
) -> None:
    node = made_up.answers["node1"]["node"]
    node["components"] = [item for item in node["components"] if item["name"] in left]
    found = collected(made_up)
    assert found["nodes"][1]["ready"]
    assert not found["healthy"]


def test_a_restart_that_is_over_is_shown_and_no_illness(made_up: MadeUp) -> None:
    made_up.answers["node0"]["node"]["components"][0].update(restarts=1, lastExit="killed by SIGKILL")
    made_up.answers["node1"]["keeper"].update(restarts=2, lastExit="exit code 137")
    found = collected(made_up)
    assert found["healthy"]
    page = status.text(found)
    assert "node0: kubelet was restarted 1 times, last: killed by SIGKILL" in page
    assert "node1: the node was restarted 2 times, last: exit code 137" in page


def test_the_page_has_a_line_a_node(made_up: MadeUp) -> None:
    page = status.text(collected(made_up)).splitlines()
    assert page[0].startswith("cluster demo: well, running, ")
    assert page[1].startswith("API     https://192.0.2.2:20002  ready, ")
    assert page[2] == "DNS     answers in 0.4 ms"
    assert "NOT enforced" in page[3]
    assert page[5].split() == ["NODE", "STATE", "ADDRESS", "NODE-IP", "NETWORK", "RESTARTS", "IMAGES", "COMPONENTS"]
    assert "mesh mtu 1440, 1/2 peers heard" in page[6]
    assert [line.split()[0] for line in page[6:8]] == ["node0", "node1"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (10**6, "277h")]
)
def test_an_age_is_short(seconds: int, words: str) -> None:
    assert status.age(seconds) == words


def test_a_network_or_components_that_nobody_told_of_are_a_dash() -> None:
    assert status.network_words(None) == "-"
    assert status.network_words({"backend": "flannel", "mtu": 1450}) == "flannel mtu 1450"
    assert status.component_words([]) == "-"
