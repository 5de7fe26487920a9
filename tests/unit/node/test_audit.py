"""The audit log as the node reads it: files in order, filters, lines that are not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.node import audit

GRANT = "system:serviceaccount:usernetes-grants:"


def line(user: str, verb: str, second: int, **more: Any) -> str:
    """One event as the API server writes it."""
    return json.dumps(
        {
            "requestReceivedTimestamp": f"2026-01-02T12:00:{second:02}.000000Z",
            "user": {"username": user},
            "verb": verb,
            "requestURI": "/api/v1/namespaces/runs/pods/a?x=1",
            "objectRef": {"resource": "pods", "namespace": "runs", "name": "a"},
            "responseStatus": {"code": 200},
            "sourceIPs": ["10.64.0.1"],
            "userAgent": "kubectl/v1 (linux)",
            **more,
        }
    )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / audit.FOLDER
    folder.mkdir()
    (folder / "audit-2026-01-02T12-00-02.000.log").write_text(
        line("ada", "get", 1) + "\n" + line(f"{GRANT}agent", "delete", 2) + "\n"
    )
    last = line(f"{GRANT}agent", "create", 4, objectRef={"resource": "pods", "subresource": "exec", "name": "a"})
    (folder / audit.LOG).write_text(
        line(f"{GRANT}other", "get", 3, impersonatedUser={"username": "root"}) + "\n" + last + "\n" + last[:40]
    )
    return tmp_path


def test_events_come_in_order_from_all_files_and_half_a_line_is_none(logs: Path) -> None:
    found = list(audit.events(logs))
    assert [event["time"][17:19] for event in found] == ["01", "02", "03", "04"]
    assert list(found[0]) == list(audit.FIELDS)
    assert (found[0]["agent"], found[0]["source"], found[0]["code"]) == ("kubectl/v1", "10.64.0.1", 200)
    assert found[2]["as"] == "root"
    assert found[3]["resource"] == "pods/exec"


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [
        ({"user": f"{GRANT}agent"}, ["02", "04"]),
        ({"user": f"{GRANT}age"}, []),
        ({"verbs": ["get"]}, ["01", "03"]),
        ({"since": "2026-01-02T12:00:03.000000Z"}, ["03", "04"]),
        ({"since": "2026-01-02T12:00:03.000000Z", "verbs": ["delete", "create"]}, ["04"]),
    ],
)
def test_only_what_was_asked_for(logs: Path, wanted: dict[str, Any], seconds: list[str]) -> None:
    assert [event["time"][17:19] for event in audit.events(logs, **wanted)] == seconds


def test_the_last_use_of_each(logs: Path) -> None:
    assert audit.last_use(logs, GRANT) == {
        "agent": "2026-01-02T12:00:04.000000Z",
        "other": "2026-01-02T12:00:03.000000Z",
    }


def test_where_nothing_was_written_there_is_nothing(tmp_path: Path) -> None:
    assert not list(audit.events(tmp_path))
    assert audit.last_use(tmp_path, GRANT) == {}


def test_no_rule_writes_bodies() -> None:
    levels = [rule["level"] for rule in audit.policy()["rules"]]
    assert set(levels) == {"None", "Metadata"}
    assert levels[-1] == "Metadata"
