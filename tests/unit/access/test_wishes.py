"""What a grant may be asked to be, and what is refused before any cluster is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.access.durations import seconds, shown
from usernetes_deploy.access.wishes import may_start_pods, narrowed, read_rules, wish
from usernetes_deploy.errors import UsageError


def test_a_grant_is_by_default_to_look_at_one_namespace_for_an_hour() -> None:
    made = wish("reader")
    assert (made.role, made.where, made.seconds, made.verbs, made.level) == ("view", "default", 3600, (), "restricted")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "A b"}, "expected a name of lower-case letters"),
        ({"name": "-a"}, "expected a name of lower-case letters"),
        ({"name": "a\n"}, "expected a name of lower-case letters"),
        ({"namespace": "../x"}, "--namespace: expected the name"),
        ({"namespace": "kube-system"}, "the cluster's own"),
        ({"namespace": "usernetes-grants"}, "the cluster's own"),
        ({"role": "cluster-admin"}, "--role: expected view, edit, admin or a file with rules"),
        ({"role": "./nowhere.yaml"}, "No such file"),
        ({"length": "1 hour"}, "--for: expected a time as 30m"),
        ({"length": "5m"}, "expected 10m to 24h"),
        ({"length": "25h"}, "expected 10m to 24h"),
        ({"level": "none"}, "--pod-security: expected one of"),
        ({"quota": "cpu"}, "--quota: expected RESOURCE=QUANTITY"),
        ({"quota": "cpu=many"}, "--quota: expected RESOURCE=QUANTITY"),
        ({"quota": "cpu=1", "namespace": "*"}, "--quota holds in one namespace"),
    ],
)
def test_what_cannot_be_is_refused_with_one_message(words: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        wish(**{"name": "a", **words})


def test_rules_are_read_as_a_list_or_from_a_role(tmp_path: Path) -> None:
    rule = "{apiGroups: [''], resources: [pods], verbs: [get]}"
    (tmp_path / "list.yaml").write_text(f"- {rule}\n")
    (tmp_path / "role.yaml").write_text(f"kind: Role\nrules:\n- {rule}\n")
    made = [read_rules(str(tmp_path / name)) for name in ("list.yaml", "role.yaml")]
    assert made[0] == made[1] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]


@pytest.mark.parametrize(
    "text", ["", "[]", "pods", "- pods", "- {resources: [pods]}", "- {verbs: get}", "- {verbs: [get], who: [me]}", "{"]
)
def test_a_file_without_rules_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match="--role:"):
        read_rules(str(file))


def test_verbs_only_take_away() -> None:
    rules = [{"resources": ["a"], "verbs": ["*"]}, {"resources": ["b"], "verbs": ["get"]}, {"verbs": ["delete"]}]
    assert narrowed(rules, ["get", "list"]) == [
        {"resources": ["a"], "verbs": ["get", "list"]},
        {"resources": ["b"], "verbs": ["get"]},
    ]


def test_times_are_read_and_shown() -> None:
    assert [seconds(text, "--for") for text in ("30s", "10m", "8h", "2d")] == [30, 600, 28800, 172800]
    assert [shown(number) for number in (-5, 0, 119, 120, 7199, 7200)] == ["0s", "0s", "119s", "2m", "119m", "2h"]


@pytest.mark.parametrize(
    ("resources", "verbs", "strong"),
    [
        ("pods", "get,list,watch", False),
        ("pods", "create", True),
        ("jobs", "patch", True),
        ("*", "get", True),
        ("*", "*", True),
        ("pods/log", "get", False),
        ("pods/exec", "get", True),
        ("nodes/proxy", "get", True),
        ("nodes", "list", False),
        ("services/status", "get", False),
        ("configmaps", "create,delete", False),
        ("rayclusters", "create", True),
        ("serviceaccounts", "impersonate", True),
    ],
)
def test_rights_that_lead_into_pods_are_known(resources: str, verbs: str, strong: bool) -> None:
    assert may_start_pods([{"resources": [resources], "verbs": verbs.split(",")}]) is strong
