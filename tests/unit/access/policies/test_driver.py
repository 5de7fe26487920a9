"""What the driver refuses before it changes anything."""

from __future__ import annotations

import math
from typing import Any

import pytest

from usernetes_deploy.access.policies.document import parse
from usernetes_deploy.access.policies.driver import check_exposed, check_grant, check_size
from usernetes_deploy.errors import UsageError

SIZE = parse([{"largest-size": {"nodes": 4, "nodeHours": 8}}], "site")


@pytest.mark.parametrize(("nodes", "seconds"), [(4, None), (4, 7200.0), (1, 8 * 3600.0), (4, math.inf)])
def test_what_is_within_the_size_passes(nodes: int, seconds: float | None) -> None:
    check_size(SIZE, nodes, seconds)


@pytest.mark.parametrize(
    ("nodes", "seconds", "said"),
    [(5, None, "4 nodes are allowed, and these are 5"), (4, 7260.0, "8 node-hours are allowed, and 4 nodes for 2h")],
)
def test_what_is_larger_is_refused(nodes: int, seconds: float | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_size(SIZE, nodes, seconds)


def test_a_spec_cannot_allow_more_than_the_site() -> None:
    both = [*SIZE, *parse([{"largest-size": {"nodes": 99}}], "spec")]
    with pytest.raises(UsageError, match="the site's file"):
        check_size(both, 5)


def test_a_grant_is_as_long_as_the_shortest_policy_says() -> None:
    policies = [
        *parse([{"longest-grant": {"time": "2h"}}], "site"),
        *parse([{"longest-grant": {"time": "1h"}}], "spec"),
    ]
    check_grant(policies, 3600)
    with pytest.raises(UsageError, match="of the spec: at most 1h"):
        check_grant(policies, 3601)


def service(**spec: Any) -> dict[str, Any]:
    """A Service as the API has it."""
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 8080}], **spec}}


@pytest.mark.parametrize(
    ("allowed", "kind", "there", "refused"),
    [
        ([8080], "LoadBalancer", service(), False),
        (["8000-8999"], "LoadBalancer", service(), False),
        ([], "LoadBalancer", service(), True),
        ([80], "LoadBalancer", service(), True),
        ([8080], "LoadBalancer", service(ports=[{"port": 8080, "nodePort": 30500}]), True),
        ([30500], "NodePort", service(ports=[{"port": 8080, "nodePort": 30500}]), False),
    ],
)
def test_ports_that_are_published(allowed: list[Any], kind: str, there: dict[str, Any], refused: bool) -> None:
    policies = parse([{"exposed-ports": {"allowed": allowed}}], "spec")
    if not refused:
        check_exposed(policies, there, kind)
        return
    with pytest.raises(UsageError, match="may be published, and not"):
        check_exposed(policies, there, kind)


@pytest.mark.parametrize(
    ("kind", "ranges", "refused"),
    [
        ("LoadBalancer", ["10.1.0.0/16"], False),
        ("LoadBalancer", ["10.1.0.0/16", "0.0.0.0/0"], True),
        ("LoadBalancer", [], True),
        ("NodePort", ["10.1.0.0/16"], True),
    ],
)
def test_callers_of_published_services(kind: str, ranges: list[str], refused: bool) -> None:
    policies = parse([{"source-ranges": {"allowed": ["10.0.0.0/8", "fd00::/8"]}}], "spec")
    there = service(loadBalancerSourceRanges=ranges)
    if not refused:
        check_exposed(policies, there, kind)
        return
    with pytest.raises(UsageError, match="loadBalancerSourceRanges"):
        check_exposed(policies, there, kind)


def test_a_namespace_that_is_excepted_may_publish() -> None:
    policies = parse([{"exposed-ports": {"allowed": [], "except": {"namespaces": ["default"]}}}], "spec")
    check_exposed(policies, service(), "LoadBalancer")
