"""Lists of policies: what they may say, and that everything wrong is named with its path."""

from __future__ import annotations

from typing import Any

import pytest

from usernetes_deploy.access.policies.document import mistakes, parse
from usernetes_deploy.access.policies.library import LIBRARY
from usernetes_deploy.access.policies.rules import RULES, objects
from usernetes_deploy.cluster import spec
from usernetes_deploy.errors import SpecError


def test_there_are_ten_and_all_that_the_api_enforces_have_rules() -> None:
    assert len(LIBRARY) == 10
    assert set(RULES) == {name for name, kind in LIBRARY.items() if "API" in kind.by}


@pytest.mark.parametrize(
    ("items", "path", "said"),
    [
        ("registries", "policies", "expected a list"),
        ([None], "policies[0]", "expected a name"),
        ([{}], "policies[0]", "expected a name"),
        ([{"no-privileged": {}, "devices": {}}], "policies[0]", "expected a name"),
        (["no-such"], "policies[0]", "there is no such policy"),
        ([{"no-privileged": None}], "policies[0].no-privileged", "expected a mapping of parameters"),
        ([{"no-privileged": {"allowed": []}}], "policies[0].no-privileged.allowed", "unknown parameter"),
        (["registries"], "policies[0].registries.allowed", "has to be there"),
        (["largest-size"], "policies[0].largest-size", "expected one of nodes, nodeHours"),
        ([{"largest-size": {"nodes": True}}], "policies[0].largest-size.nodes", "a whole number >= 1, got True"),
        ([{"largest-size": {"nodes": 1, "except": {}}}], "policies[0].largest-size.except", "unknown parameter"),
        ([{"registries": {"allowed": "docker.io"}}], "policies[0].registries.allowed", "expected a list"),
        ([{"registries": {"allowed": ["https://a"]}}], "policies[0].registries.allowed[0]", "expected a registry"),
        ([{"host-paths": {"allowed": ["/a/../b"]}}], "policies[0].host-paths.allowed[0]", "an absolute path"),
        ([{"host-paths": {"allowed": ["/a/"]}}], "policies[0].host-paths.allowed[0]", "an absolute path"),
        ([{"capabilities": {"allowed": ["net_admin"]}}], "policies[0].capabilities.allowed[0]", "a capability"),
        ([{"exposed-ports": {"allowed": ["90-80"]}}], "policies[0].exposed-ports.allowed[0]", "a port or a range"),
        ([{"source-ranges": {"allowed": ["10.0.0.1/8"]}}], "policies[0].source-ranges.allowed[0]", "a network"),
        ([{"longest-grant": {"time": "1m"}}], "policies[0].longest-grant.time", "at least 10m"),
        ([{"no-privileged": {"except": ["a"]}}], "policies[0].no-privileged.except", "expected namespaces"),
        ([{"no-privileged": {"except": {"nodes": []}}}], "policies[0].no-privileged.except.nodes", "unknown field"),
        (
            [{"no-privileged": {"except": {"users": ["a'"]}}}],
            "policies[0].no-privileged.except.users",
            "a list of names",
        ),
        (["no-privileged", "no-privileged"], "policies[1]", "no-privileged is there twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(items: Any, path: str, said: str) -> None:
    found = mistakes(items)
    assert [where for where, _ in found] == [path]
    assert said in found[0][1]
    with pytest.raises(SpecError):
        parse(items, "spec")


def test_a_spec_has_policies_and_gives_them_back_as_they_were() -> None:
    items = ["no-privileged", {"registries": {"allowed": ["docker.io"]}}]
    made = spec.load({"policies": items})
    assert spec.load(spec.dump(made)) == made
    assert spec.dump(made)["policies"] == items


def test_a_policy_of_a_spec_without_parameters_is_never_lost_in_silence() -> None:
    with pytest.raises(SpecError, match=r"policies\[0\]"):
        spec.load({"policies": [{"registries": None}]})


def test_the_same_policy_of_site_and_spec_holds_twice() -> None:
    both = [
        *parse([{"host-paths": {"allowed": ["/scratch"]}}], "site"),
        *parse([{"host-paths": {"allowed": ["/"]}}], "spec"),
    ]
    names = [item["metadata"]["name"] for item in objects(both) if not item["kind"].endswith("Binding")]
    assert names == ["usernetes-site-host-paths", "usernetes-spec-host-paths"]
    assert '["/scratch"]' in str(objects(both)[0])
