"""What NetworkPolicies become for one node."""

from __future__ import annotations

from typing import Any

import pytest

from usernetes_deploy.network.policies import translate

DNS = "10.64.0.1"
SPACES = [{"metadata": {"name": name, "labels": {"team": name}}} for name in ("a", "b", "kube-system")]


def pod(name: str, address: str, space: str = "a", node: str = "node0", **more: Any) -> dict[str, Any]:
    ports = [{"name": "web", "containerPort": 8080}]
    return {
        "metadata": {"name": name, "namespace": space, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "ports": ports}], **more},
        "status": {"podIP": address, "phase": "Running"},
    }


def policy(name: str = "p", space: str = "a", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": space}, "spec": {"podSelector": {}, **spec}}


PODS = [pod("db", "10.0.0.1"), pod("web", "10.0.1.2", node="node1"), pod("far", "10.0.1.3", "b", "node1")]


def rules(*policies: dict[str, Any], way: str = "in", pods: list[dict[str, Any]] = PODS) -> list[str]:
    """The lines of the chain of the one pod on node0."""
    text = translate.script(policies, pods, SPACES, "node0", DNS)
    if f"chain {way}_0" not in text:
        return []
    lines = [line.strip() for line in text.partition(f"chain {way}_0 {{\n")[2].partition("  }")[0].splitlines()]
    assert lines[0] == "ip saddr 10.0.0.1 ip daddr 10.0.0.1 accept"  # no pod is cut off from itself
    return lines[1:]


def test_a_closed_pod_drops_all_and_only_that_way() -> None:
    assert rules(policy()) == ["drop"]
    assert rules(policy(), way="out") == []
    assert rules(policy(policyTypes=["Egress"]), way="out") == ["drop"]
    assert rules(policy(egress=[{}]), way="out") == ["accept", "drop"]
    assert rules(policy(space="b")) == []
    assert rules(policy(podSelector={"matchLabels": {"app": "other"}})) == []


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({}, "accept"),
        ({"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}, "ip saddr { 10.0.1.2 } accept"),
        ({"from": [{"podSelector": {}}]}, "ip saddr { 10.0.0.1, 10.0.1.2 } accept"),
        ({"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}, "ip saddr { 10.0.1.3 } accept"),
        (
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "far"}}}]},
            "ip saddr { 10.0.1.3 } accept",
        ),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.1.0/24"]}}]},
            "ip saddr 10.0.0.0/8 ip saddr != { 10.0.1.0/24 } accept",
        ),
        ({"ports": [{"port": 80, "protocol": "UDP"}]}, "udp dport 80 accept"),
        ({"ports": [{"port": 80, "endPort": 90}]}, "tcp dport 80-90 accept"),
        ({"ports": [{"port": "web"}]}, "tcp dport 8080 accept"),
        ({"ports": [{"protocol": "SCTP"}]}, "meta l4proto sctp accept"),
    ],
)
def test_a_rule_lets_through_what_it_names(rule: dict[str, Any], line: str) -> None:
    assert rules(policy(ingress=[rule])) == [line, "drop"]


def test_a_rule_that_names_nobody_who_is_there_lets_nobody_through() -> None:
    nobody = {"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}
    assert rules(policy(ingress=[nobody])) == ["drop"]
    assert rules(policy(ingress=[{"ports": [{"port": "no-such"}]}])) == ["drop"]


def test_rules_of_several_policies_add_up() -> None:
    one = policy("one", ingress=[{"ports": [{"port": 1}]}])
    two = policy("two", ingress=[{"ports": [{"port": 2}]}])
    assert rules(two, one) == ["tcp dport 1 accept", "tcp dport 2 accept", "drop"]


def test_the_dns_is_found_by_the_labels_that_charts_look_for() -> None:
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    rule = {"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}]}
    assert rules(policy(egress=[rule]), way="out") == [f"ip daddr {{ {DNS} }} udp dport 53 accept", "drop"]


def test_a_port_by_name_is_the_asked_pods_own() -> None:
    rule = {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "web"}]}
    assert rules(policy(egress=[rule]), way="out") == ["ip daddr 10.0.1.2 tcp dport 8080 accept", "drop"]


def test_pods_of_other_nodes_of_the_host_and_ended_ones_have_no_chain() -> None:
    ended = {**pod("done", "10.0.0.1"), "status": {"podIP": "10.0.0.1", "phase": "Succeeded"}}
    native = pod("native", "192.0.2.1", hostNetwork=True)
    assert rules(policy(), pods=[ended, native, PODS[1]]) == []


@pytest.mark.parametrize(
    ("operator", "values", "yes"),
    [
        ("In", ["x"], True),
        ("In", ["y"], False),
        ("NotIn", ["y"], True),
        ("NotIn", ["x"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_selectors_mean_what_kubernetes_means(operator: str, values: list[str], yes: bool) -> None:
    one = {"key": "app", "operator": operator, "values": values}
    assert translate.matches({"matchExpressions": [one]}, {"app": "x"}) == yes
    assert translate.matches({}, {})
    assert translate.matches({"matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["x"]}]}, {})


def test_an_ipv6_block_allows_nobody_and_does_not_spoil_the_table() -> None:
    assert rules(policy(ingress=[{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}])) == ["drop"]


def test_an_address_that_a_pod_has_left_to_another_has_one_chain() -> None:
    ending = pod("old", "10.0.0.1")
    ending["metadata"]["deletionTimestamp"] = "2026-01-02T12:00:00Z"
    for pods in ([ending, PODS[0]], [PODS[0], ending]):
        text = translate.script([policy(podSelector={"matchLabels": {"app": "db"}})], pods, SPACES, "node0", DNS)
        assert text.count("10.0.0.1 : jump") == 1
        assert rules(policy(podSelector={"matchLabels": {"app": "old"}}), pods=pods) == []
