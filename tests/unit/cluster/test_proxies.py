"""A cluster is never asked through a site's proxy; images are pulled through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, recorded
from usernetes_deploy.cluster.proxies import beside, of_nodes
from usernetes_deploy.cluster.spec import NetworkSpec, load
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import Secret

PROXY = {"HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": ".example.org"}


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    """A cluster whose API is at 192.0.2.2."""
    made = ClusterState(tmp_path, "demo")
    made.create()
    spec = load({"name": "demo", "network": {"podCIDR": "10.9.0.0/16", "dnsDomain": "demo.local"}})
    made.write(recorded([member(0), member(1)], spec).document())
    write(made)
    return made


def write(state: ClusterState, **more: str) -> None:
    cluster = {"server": "https://192.0.2.2:20002", **more}
    document: dict[str, Any] = {"clusters": [{"cluster": cluster}], "users": [{"user": {}}]}
    state.write_secret("kubeconfig", Secret(json.dumps(document)))


def test_without_a_proxy_the_environment_is_left_alone(state: ClusterState) -> None:
    assert beside(state, {"PATH": "/bin"}) == {"PATH": "/bin"}


def test_what_is_the_clusters_is_reached_directly_and_the_users_own_exceptions_stay(state: ClusterState) -> None:
    made = beside(state, PROXY)
    assert made["HTTPS_PROXY"] == "http://127.0.0.1:9"
    assert made["NO_PROXY"] == made["no_proxy"]
    words = made["NO_PROXY"].split(",")
    assert words[0] == ".example.org"
    assert {"192.0.2.2", "192.0.2.3", "10.64.0.0/16", "10.9.0.0/16", ".demo.local", "localhost"} <= set(words)


def test_an_api_that_the_kubeconfig_says_is_behind_a_proxy_is_asked_through_it(state: ClusterState) -> None:
    write(state, **{"proxy-url": "http://proxy.example.org:3128"})
    assert "192.0.2.2" not in beside(state, PROXY)["NO_PROXY"].split(",")


def test_nodes_pull_through_the_proxies_of_ups_environment() -> None:
    made = of_nodes(NetworkSpec(), {"https_proxy": "http://user:secret@proxy:3128"})
    assert made["HTTPS_PROXY"] == "http://user:secret@proxy:3128"
    assert "10.96.0.0/16" in made["NO_PROXY"]
    assert of_nodes(NetworkSpec(), {}) == {}
    assert of_nodes(NetworkSpec(proxy="none"), PROXY) == {}
