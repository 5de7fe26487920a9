"""The supervisor, as far as it can be had without a user namespace: limits, its status file, its patience."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import limits, supervisor
from usernetes_deploy.node.first_node import FirstNode
from usernetes_deploy.node.node_status import NodeStatus


def test_limits_are_raised_to_the_hard_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, Any] = {}
    monkeypatch.setattr(resource, "getrlimit", lambda number: (1, 100 + number))
    monkeypatch.setattr(resource, "setrlimit", asked.__setitem__)
    limits.raise_limits()
    assert set(asked) == {resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK}
    assert all(pair == (100 + number, 100 + number) for number, pair in asked.items())


def test_the_status_file_is_replaced_whole_and_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    node = NodeStatus(config(tmp_path))
    node.problem("no image")
    written = json.loads((tmp_path / "status.json").read_text())
    assert (written["name"], written["problems"], written["components"]) == ("node0", ["no image"], [])
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    NodeStatus(config(tmp_path / "gone")).write()


def test_an_object_that_is_refused_at_first_is_tried_again_while_the_server_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    known = NodeStatus(config(tmp_path))
    node = FirstNode(known.config, tmp_path / "netns", known, lambda *_, **__: None)  # type: ignore[arg-type]

    class Young:
        """An API that refuses so many times."""

        def __init__(self, times: int) -> None:
            self.times = times

        def apply(self, manifest: Any) -> None:
            self.times -= 1
            if self.times >= 0:
                raise UsernetesError(f"no matches for kind {manifest['kind']}")

    class Server:
        """A process that runs, or has ended."""

        def __init__(self, code: int | None) -> None:
            self.code = code

        def poll(self) -> int | None:
            return self.code

    def put(times: int, code: int | None = None) -> None:
        node._apply(Young(times), {"kind": "Policy"}, lambda: Server(code).poll() is None)  # type: ignore[arg-type]

    put(3)
    assert len(pauses) == 3
    assert pauses == sorted(pauses)
    with pytest.raises(UsernetesError, match="no matches for kind Policy"):
        put(1, code=1)


def test_the_size_of_the_disk_is_told_as_soon_as_there_is_a_node_and_not_for_a_kubelet_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, Any, str]] = []

    class NotYet:
        """An API that knows the Node from the third question on."""

        def request(self, *words: Any) -> None:
            asked.append(words)
            if len(asked) < 3:
                raise UsernetesError("nodes not found")

        def close(self) -> None:
            pass

    class Kubelet:
        """A process with this return code."""

        def __init__(self, code: int | None) -> None:
            self.code = code

        def poll(self) -> int | None:
            return self.code

    node = supervisor.Supervisor(config(tmp_path), tmp_path / "netns")
    monkeypatch.setattr(supervisor, "as_kubelet", lambda _: NotYet())
    monkeypatch.setattr(time, "sleep", lambda _: None)
    node._tell_storage(Kubelet(1))  # type: ignore[arg-type]
    assert not asked
    node._tell_storage(Kubelet(None))  # type: ignore[arg-type]
    assert len(asked) == 3
    method, path, body, _ = asked[-1]
    assert (method, path) == ("PATCH", "/api/v1/nodes/node0/status")
    assert body["status"]["capacity"] == body["status"]["allocatable"]
    assert int(body["status"]["capacity"]["ephemeral-storage"]) > 1 << 20
