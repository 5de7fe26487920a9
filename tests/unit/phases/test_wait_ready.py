"""Why a node is not ready, in its own words, most telling first."""

from __future__ import annotations

from typing import Any

import pytest

from usernetes_deploy.phases.wait_ready import explain, is_ready, ready_nodes

ALIVE: dict[str, Any] = {"alive": True, "lastExit": None}


def component(state: str, why: str | None = None) -> dict[str, Any]:
    return {"name": "kubelet", "state": state, "lastExit": why}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"keeper": None, "node": None, "log": ["last", "words"]}, "no keeper is running: last | words"),
        ({"keeper": {"alive": False}, "node": None, "log": []}, "no keeper is running"),
        ({"keeper": ALIVE, "node": {"problems": ["mount: EPERM", "x"]}, "log": ["y"]}, "mount: EPERM; x"),
        (
            {"keeper": {"alive": True, "lastExit": "exit code 1"}, "node": None, "log": ["no tun"]},
            "its process tree ended (exit code 1): no tun",
        ),
        (
            {"keeper": ALIVE, "node": {"components": [component("backing off", "exit code 1")]}, "log": []},
            "kubelet backing off (exit code 1)",
        ),
        ({"keeper": ALIVE, "node": {"components": [component("waiting")]}, "log": []}, "kubelet waiting"),
        ({"keeper": ALIVE, "node": {"components": [component("running")]}, "log": []}, "all its components run"),
        ({"keeper": ALIVE, "node": None, "log": []}, "all its components run"),
    ],
)
def test_a_node_says_why_it_is_not_ready(answer: dict[str, Any], words: str) -> None:
    assert explain(answer) == words


def test_only_wanted_nodes_whose_ready_condition_holds_count() -> None:
    def node(name: str, status: str) -> dict[str, Any]:
        conditions = [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]
        return {"metadata": {"name": name}, "status": {"conditions": conditions}}

    items = [node("a", "True"), node("b", "False"), node("c", "Unknown"), node("d", "True")]
    assert ready_nodes(lambda _: {"items": items}, {"a", "b", "c"}) == {"a"}
    assert not is_ready({})
