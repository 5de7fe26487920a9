"""How the parts of a node wait for the API: as long as the spec says, and one asks for all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.node import cluster_api
from usernetes_deploy.node.cluster_api import wait_for_api


class FakeApi:
    """Ready when `answers` says so; counts who asks at the same time."""

    server = "https://192.0.2.2:23456"

    def __init__(self, answers: Callable[[], bool]) -> None:
        self.answers = answers
        self.asking = self.most = self.asked = 0
        self._lock = threading.Lock()

    def ready(self) -> bool:
        with self._lock:
            self.asked += 1
            self.asking += 1
            self.most = max(self.most, self.asking)
        try:
            return self.answers()
        finally:
            with self._lock:
                self.asking -= 1

    def serves(self, path: str) -> bool:
        return path == "/api/v1/nodes/node0" and self.answers()

    def close(self) -> None:
        pass


def use(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_api, "as_kubelet", lambda _: api)


def test_many_who_wait_ask_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = threading.Event()
    api = FakeApi(lambda: there.wait(0.01))
    use(api, monkeypatch)
    waiting = [threading.Thread(target=wait_for_api, args=(config(tmp_path),)) for _ in range(8)]
    for thread in waiting:
        thread.start()
    wait_for_api_serving = threading.Thread(target=lambda: wait_for_api(config(tmp_path), serving=True))
    wait_for_api_serving.start()  # a kubelet's question is another one, and does not wait for theirs
    there.set()
    for thread in (*waiting, wait_for_api_serving):
        thread.join(20)
        assert not thread.is_alive()
    assert api.most == 1
    assert api.asked >= 8


def test_patience_is_the_specs_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakeApi(lambda: False), monkeypatch)
    with pytest.raises(TimedOut, match=r"not within 0\.2 s: the API at https://192\.0\.2\.2:23456 is ready"):
        wait_for_api(config(tmp_path, patience=0.2))


def test_a_server_that_has_ended_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakeApi(lambda: False), monkeypatch)
    with pytest.raises(UsernetesError, match="it ended before this: the API"):
        wait_for_api(config(tmp_path, patience=60), alive=lambda: False)
