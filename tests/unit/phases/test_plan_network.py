"""The network's plan: who publishes Services, and that the nodes that are there learn of those that come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.unit.cluster.made_up import member, recorded
from tests.unit.phases.made_up import make
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.phases.plan_network import PlanNetwork, parts_without, publishing


def test_one_node_a_host_publishes_and_none_where_another_does_already() -> None:
    assert publishing([member(0), member(1)], set()) == {"node0", "node1"}
    assert publishing([member(0), member(1)], {"192.0.2.2"}) == {"node1"}
    assert publishing([member(1), member(1)], set()) == {"node1"}


def test_the_nodes_that_are_there_are_told_of_those_that_come_and_without_them_as_before(tmp_path: Path) -> None:
    up = make(tmp_path, 3)
    run([*bringup.CHECK, PlanNetwork()], up, up.report)
    up.state.create()
    up.state.write({**recorded([member(0)]).document(), "server": "https://192.0.2.20:20001"})
    up.members.move("node0", State.STARTED)
    up.found = replace(up.found, hosts=up.hosts[1:])
    run([PlanNetwork()], up, up.report)
    assert up.plan.server == "https://192.0.2.20:20001"
    assert [member.name for member in up.newcomers] == list(up.plan.keys) == ["node1", "node2"]
    assert {name: len(part["peers"]) for name, part in up.plan.parts.items()} == {"node0": 2, "node1": 2, "node2": 2}
    assert up.plan.parts["node1"]["peers"][0]["publicKey"] == up.others[0].public_key
    assert {
        name: part["peers"]
        for name, part in parts_without(up.members, ["node1", "node2"], up.spec, one_host=False).items()
    } == {"node0": []}
    assert up.plan.publishing == {"node1", "node2"}
