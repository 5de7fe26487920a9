"""Why a node is not ready, in its own words, most telling first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_up import FakeApi, node_object
from tests.unit.phases.made_up import make
from usernetes_deploy.api import ApiError
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.phase import run
from usernetes_deploy.errors import NodeFailures, TimedOut
from usernetes_deploy.launch.base import Outcome
from usernetes_deploy.phases import wait_ready
from usernetes_deploy.phases.check_network import PODS, CheckNetwork, Probe
from usernetes_deploy.phases.wait_ready import WaitReady, explain, is_ready, ready_nodes

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
        (
            {
                "keeper": ALIVE,
                "log": ["noise"],
                "node": {
                    "components": [
                        {**component("backing off", "exit code 1"), "deaths": 3, "lastWords": "mkdir kubepods: denied"}
                    ]
                },
            },
            "kubelet ended 3 times in a row, last: exit code 1: mkdir kubepods: denied",
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
    assert ready_nodes(items, {"a", "b", "c"}) == {"a"}
    assert not is_ready({})


@pytest.mark.parametrize("error", [TimedOut("no answer within 10 s"), ApiError("etcd leader changed", 503), None])
def test_a_moment_without_an_answer_does_not_end_the_wait(
    error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = make(tmp_path, 1)
    run(bringup.UP[:8], up, up.report)
    assert up.report.log
    up.report.log.close()
    left = [error, error] if error else []

    class Hesitating(FakeApi):
        def get(self, path: str) -> Any:
            if left and path == "/api/v1/nodes":
                raise left.pop()
            return super().get(path)

        def ready(self) -> bool:
            return True

        def request(self, method: str, path: str, body: dict[str, Any]) -> None:
            assert (method, path) == ("POST", PODS)
            self.applied.append(body)

    api = Hesitating({"/api/v1/nodes": {"items": [node_object("node0")]}})
    monkeypatch.setattr(type(up), "api", lambda *_: api)
    assert WaitReady(meanwhile=CheckNetwork.begin).apply(up) == "1 Ready"
    assert left == []
    assert {manifest["kind"] for manifest in api.applied} == {"Service", "Pod"}  # the probe, once
    assert len(api.applied) == 2


def test_a_refusal_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = make(tmp_path, 1)
    run(bringup.UP[:8], up, up.report)
    assert up.report.log
    up.report.log.close()

    class Refusing(FakeApi):
        def ready(self) -> bool:
            return True

    monkeypatch.setattr(type(up), "api", lambda *_: Refusing({"/api/v1/nodes": ApiError("forbidden", 403)}))
    with pytest.raises(ApiError, match="forbidden"):
        WaitReady(meanwhile=CheckNetwork.begin).apply(up)


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_component_that_dies_again_and_again_ends_the_wait_with_its_last_words(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = make(tmp_path, 2)
    run(bringup.UP[:7], up, up.report)
    assert up.report.log
    up.report.log.close()
    words = "failed to parse kubelet flag: unknown flag: --on"
    dead = {**component("backing off", "exit code 1"), "deaths": deaths, "lastWords": words}
    answers = {"node1": {"keeper": {"alive": True}, "node": {"components": [dead]}}}
    monkeypatch.setattr(wait_ready, "LOOK_AFTER", 0.0)
    monkeypatch.setattr(wait_ready, "ask_nodes", lambda *_, **__: Outcome(answers, {}))
    monkeypatch.setattr(type(up), "deadline", 2.0)
    monkeypatch.setattr(type(up), "api", lambda *_: FakeApi({"/api/v1/nodes": {"items": [node_object("node0")]}}))
    monkeypatch.setattr(FakeApi, "ready", lambda _: True, raising=False)
    monkeypatch.setattr(Probe, "make", lambda *_: None)
    with pytest.raises(NodeFailures if deaths > 2 else TimedOut) as failed:
        WaitReady(meanwhile=CheckNetwork.begin).apply(up)
    said = "ended 3 times in a row, last: exit code 1: {}" if deaths > 2 else "backing off (exit code 1: {})"
    assert f"kubelet {said.format(words)}" in str(failed.value)
