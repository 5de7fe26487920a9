"""The order in which a node asks resolvers, and which of them answer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.network import resolvers
from usernetes_deploy.node.control_plane import corefile


def test_the_nats_resolver_is_the_last_that_the_clusters_dns_asks() -> None:
    assert resolvers.upstreams(["192.0.2.1", "192.0.2.2"]) == ["192.0.2.1", "192.0.2.2", "10.0.2.3"]
    assert resolvers.upstreams(["127.0.0.53", "::1"]) == ["10.0.2.3"]
    assert resolvers.upstreams([]) == ["10.0.2.3"]


@pytest.mark.parametrize("servers", [[], ["127.0.0.1"], ["192.0.2.1", "192.0.2.2", "192.0.2.3"]])
def test_a_resolv_conf_has_at_most_three_and_ends_with_the_nats(servers: list[str]) -> None:
    lines = resolvers.resolv_conf(servers).splitlines()
    assert lines == [*(f"nameserver {server}" for server in servers[:2]), "nameserver 10.0.2.3"]


def test_the_clusters_dns_asks_in_order_and_fails_at_once_when_all_are_silent(tmp_path: Path) -> None:
    text = corefile(config(tmp_path, nameservers=["192.0.2.1", "127.0.0.53"]))
    assert text.count("forward . 192.0.2.1 10.0.2.3 {") == 2
    assert text.count("policy sequential") == text.count("failfast_all_unhealthy_upstreams") == 2


def test_a_port_that_nobody_listens_on_is_silent_at_once() -> None:
    began = time.monotonic()
    assert resolvers.silent(["127.9.9.9"]) == ["127.9.9.9"]
    assert time.monotonic() - began < 0.9


def test_nobody_asked_is_nobody_silent() -> None:
    assert resolvers.silent([]) == []
