"""The verbs run, expose and ports, as far as they can be asked without a cluster."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member
from tests.unit.made_up import MadeUp
from usernetes_deploy import cli
from usernetes_deploy.api import ApiError
from usernetes_deploy.cluster import exposure
from usernetes_deploy.cluster.membership import Member, Membership
from usernetes_deploy.cluster.record import members_of, written
from usernetes_deploy.commands import inside
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.base import Completed, Host


def node(name: str, index: int, directory: Path) -> Member:
    made = member(index)
    return replace(made, name=name, place=replace(made.at, node_dir=directory))


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """Two nodes; the second runs on this host."""
    state = tmp_path / "b" / "rk"
    state.mkdir(parents=True)
    (state / "child_pid").write_text(str(os.getpid()))
    members = Membership([node("a", 0, tmp_path / "a"), node("b", 1, tmp_path / "b")])
    return {"name": "demo", "spec": {}, "members": written(members)}


def test_the_node_on_this_host_is_entered_unless_another_is_named(document: dict[str, Any]) -> None:
    assert inside.member_for(document, None).name == "b"
    assert inside.member_for(document, "a").name == "a"


def test_an_unknown_node_is_named_with_those_there_are(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the cluster has no node c; its nodes are a, b"):
        inside.member_for(document, "c")


def test_a_node_that_has_ended_does_not_run_here(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "b" / "rk" / "child_pid").write_text("999999999")
    assert not any(inside.runs_here(member) for member in members_of(document))


def test_the_clusters_dns_is_passed_on_before_the_folder(document: dict[str, Any]) -> None:
    words = inside.inside_argv(document, "jobs")
    assert words == ["inside", "--dns=10.96.0.10", "--domain=cluster.local", "--namespace=jobs"]


class FakeApi:
    """Has one Service."""

    def get(self, path: str) -> Any:
        if path.endswith("/services"):
            return {"items": [{"metadata": {"name": "web"}}]}
        if path.endswith("/web"):
            return {"metadata": {"name": "web"}}
        raise ApiError("not found", 404)


def test_a_service_that_is_not_there_is_named_with_those_that_are() -> None:
    api: Any = FakeApi()
    assert exposure.find_service(api, "/services", "web", "default")["metadata"]["name"] == "web"
    with pytest.raises(UsageError, match="there is no Service db in namespace default; there are: web"):
        exposure.find_service(api, "/services", "db", "default")


def test_a_port_that_could_not_be_had_is_shown_as_its_node_port() -> None:
    ports: list[Any] = [{"port": 80, "nodePort": 30080}, {"port": 8080, "nodePort": 30081}, {"port": 90}]
    entry: dict[str, Any] = {
        "ip": "192.0.2.1",
        "ports": [{"port": 80, "error": "x"}, {"port": 8080}, {"port": 90, "error": "x"}],
    }
    assert exposure.answering(entry, ports) == ["192.0.2.1:30080", "192.0.2.1:8080"]


def test_ports_are_those_of_the_addresses_that_hosts_have_now(
    made_up: MadeUp, capsys: pytest.CaptureFixture[str]
) -> None:
    def published(_: Host, argv: Any, __: bytes) -> Completed:
        return Completed(argv, 0, json.dumps([{"spec": {"proto": "tcp", "parentPort": 8080}}]), "")

    made_up.launcher._answers["ports"] = published
    service = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 8080}]},
    }
    made_up.paths |= {
        "/api/v1/pods": {"items": []},
        "/api/v1/services": {"items": [service]},
        "/api/v1/namespaces/kube-system/configmaps/usernetes-hosts": {"data": {"node1": "192.0.2.99"}},
    }
    assert cli.run(["usernetes", "ports", "--json"]) == 0
    rows = [tuple(row.values()) for row in json.loads(capsys.readouterr().out)["ports"]]
    assert rows == [
        ("192.0.2.2", 8080, "tcp", "Service default/web"),
        ("192.0.2.2", 20001, "udp", "the network of node0"),
        ("192.0.2.99", 8080, "tcp", "Service default/web"),
        ("192.0.2.99", 20001, "udp", "the network of node1"),
    ]


def test_a_command_on_another_host_prints_as_it_goes_and_its_exit_code_is_ours(
    made_up: MadeUp, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(host: Host, argv: Any, _: bytes) -> Completed:
        return Completed(argv, 3, f"{host.name}: {argv[-2:]}\n", "warned\n")

    made_up.launcher._answers["inside"] = answer
    with pytest.raises(SystemExit) as ended:
        inside.enter(made_up.state, "node1", "default", ["hostname", "-s"])
    assert ended.value.code == 3
    assert capsys.readouterr() == ("node1: ['hostname', '-s']\n", "warned\n")
