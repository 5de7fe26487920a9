"""The watch: a list, then events, and what ends it."""

from __future__ import annotations

import io
import json
import ssl
from typing import Any

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network.watch import Watch, events


def item(uid: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, **fields}


@pytest.fixture
def watch() -> Watch:
    return Watch("https://192.0.2.1:6443", ssl.create_default_context(), "/api/v1/services", lambda: None)


def test_events_are_read_a_line_each() -> None:
    lines = b"".join(json.dumps({"type": "ADDED", "object": item(uid)}).encode() + b"\n" for uid in "ab")
    assert [event["object"]["metadata"]["uid"] for event in events(io.BytesIO(lines))] == ["a", "b"]


def test_objects_follow_the_events(watch: Watch) -> None:
    assert watch.take({"type": "ADDED", "object": item("a", n=1)})
    assert watch.take({"type": "MODIFIED", "object": item("a", n=2)})
    assert watch.objects == {"a": item("a", n=2)}
    assert watch.take({"type": "DELETED", "object": item("a")})
    assert watch.objects == {}


def test_a_bookmark_and_the_end_of_the_unknown_change_nothing(watch: Watch) -> None:
    assert not watch.take({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    assert not watch.take({"type": "DELETED", "object": item("a")})


def test_a_version_too_old_ends_the_watch_so_that_it_lists_again(watch: Watch) -> None:
    with pytest.raises(UsernetesError, match="too old resource version"):
        watch.take({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}})
