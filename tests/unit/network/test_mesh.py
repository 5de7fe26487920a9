"""The mesh backend: its plan, its changes of peers, and what it runs on a node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from usernetes_deploy.errors import CommandFailed, Secret, UsageError
from usernetes_deploy.network.base import Networks, NodeContext, Peer, bridge_conflist, masquerade_rules
from usernetes_deploy.network.keys import make_key_pair
from usernetes_deploy.network.mesh import Mesh, backend, uapi
from usernetes_deploy.network.mesh.uapi import PeerState, from_hex, parse_peers, to_hex

KEYS = [make_key_pair() for _ in range(3)]
ANSWER = f"""listen_port=4000
public_key={to_hex(KEYS[1].public)}
endpoint=192.0.2.2:4000
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=10
rx_bytes=20
allowed_ip=10.64.0.2/32
allowed_ip=10.244.1.0/24
"""


def members(count: int = 3, **fields: int) -> list[Peer]:
    return [Peer(i, f"n{i}", f"192.0.2.{i + 1}", 4000, public_key=KEYS[i].public, **fields) for i in range(count)]


def test_every_node_has_all_others_as_peers_and_no_key_is_private() -> None:
    plans = Mesh().plan(members(), Networks())
    assert [[peer["name"] for peer in plan["peers"]] for plan in plans] == [["n1", "n2"], ["n0", "n2"], ["n0", "n1"]]
    assert plans[0]["peers"][1]["allowedIPs"] == ["10.64.0.3/32", "10.244.2.0/24"]
    assert not any("privateKey" in plan for plan in plans)
    json.dumps(plans)


def test_the_private_key_goes_only_into_the_helpers_input() -> None:
    config = backend.with_private_key(Mesh().plan(members(), Networks())[0], KEYS[0].private)
    assert json.loads(backend.helper_input(config))["privateKey"] == KEYS[0].private.reveal()
    assert str(KEYS[0].private) == str(Secret("")) == "***"


@pytest.mark.parametrize(("mtu", "tunnel"), [(1500, 1440), (9000, 8940), (65520, 65460)])
def test_the_tunnels_mtu_follows_the_hosts_interface(mtu: int, tunnel: int) -> None:
    assert {plan["mtu"] for plan in Mesh().plan(members(mtu=mtu), Networks())} == {tunnel}


def test_one_interface_with_a_small_mtu_is_named() -> None:
    odd = [*members(2), Peer(2, "n2", "192.0.2.3", 4000, mtu=1300)]
    with pytest.raises(UsageError, match=r"n2: the interface of 192\.0\.2\.3 has MTU 1300; .* at least 1340"):
        Mesh().plan(odd, Networks())


def test_a_thousand_nodes_fit_only_into_networks_that_are_large_enough() -> None:
    many = [Peer(i, f"n{i}", "192.0.2.1", 4000) for i in range(300)]
    with pytest.raises(UsageError, match=r"10\.244\.0\.0/16 has no /24 for node 256"):
        Mesh().plan(many, Networks())
    wide = Mesh().plan(many, Networks(pods="10.128.0.0/12"))
    assert wide[299]["podCIDR"] == "10.129.43.0/24"


def test_no_two_nodes_share_an_address_or_a_subnet() -> None:
    networks = Networks(pods="10.128.0.0/10")
    assert len({networks.node_address(i) for i in range(1000)} | {networks.pod_cidr(i) for i in range(1000)}) == 2000


def test_the_answer_of_the_helper_is_understood() -> None:
    (peer,) = parse_peers(ANSWER)
    assert peer == PeerState(KEYS[1].public, "192.0.2.2:4000", ("10.64.0.2/32", "10.244.1.0/24"), 1700000000.5, 20, 10)
    assert from_hex(to_hex(KEYS[1].public)) == KEYS[1].public


def test_only_peers_that_differ_are_touched() -> None:
    wanted = Mesh().plan(members(), Networks())[0]["peers"]
    present = parse_peers(ANSWER)
    lines = backend.peer_changes(present, wanted)
    assert lines[0] == f"public_key={to_hex(KEYS[2].public)}"
    assert not any(to_hex(KEYS[1].public) in line for line in lines)
    assert backend.peer_changes(present, [wanted[0]]) == []


def test_a_peer_that_left_is_removed_and_one_that_moved_is_sent_its_new_endpoint() -> None:
    present = parse_peers(ANSWER)
    assert backend.peer_changes(present, []) == [f"public_key={to_hex(KEYS[1].public)}", "remove=true"]
    moved = {**Mesh().plan(members(), Networks())[0]["peers"][0], "endpoint": "192.0.2.99:4000"}
    assert "endpoint=192.0.2.99:4000" in backend.peer_changes(present, [moved])


def test_the_kernels_drops_are_read_for_our_port_only() -> None:
    text = (
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode drops\n"
        "  1: 00000000:0FA0 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 1 2 0 17\n"
        "  2: 00000000:0FA1 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 1 2 0 5\n"
    )
    assert backend.udp_drops(text, 4000) == 17


class FakeNode:
    """Writes down what a backend runs on its node."""

    def __init__(self, folder: Path, routes: str = "") -> None:
        self.ran: list[tuple[list[str], str]] = []
        self.spawned: list[tuple[str, list[str]]] = []
        self.inputs: list[Callable[[], bytes]] = []
        self.routes = routes
        self.fail = ""
        self.restarted: list[tuple[str, str]] = []
        self.context = NodeContext(self.nr, self.spawn, folder, folder, folder, folder / "cni", "/netns")
        self.context.restart = lambda name, why: self.restarted.append((name, why))

    def nr(self, argv: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        self.ran.append((list(argv), stdin.decode()))
        shows = "show" in argv
        code = 1 if self.fail and self.fail in argv else 0
        return subprocess.CompletedProcess(argv, code, self.routes.encode() if shows else b"", b"no such luck")

    def spawn(self, name: str, argv: Sequence[str], stdin: Callable[[], bytes]) -> None:
        self.spawned.append((name, list(argv)))
        self.inputs.append(stdin)


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    changes: list[Sequence[str]] = []
    monkeypatch.setattr(uapi.Control, "answers", lambda self: True)
    monkeypatch.setattr(uapi.Control, "peers", lambda self: parse_peers(ANSWER))
    monkeypatch.setattr(uapi.Control, "set", lambda self, lines: changes.append(lines))
    return changes


def test_a_node_takes_one_process_for_all_its_routes(tmp_path: Path, helper: list[Sequence[str]]) -> None:
    node = FakeNode(tmp_path, routes="10.64.0.9 scope link src 10.64.0.1\n10.64.0.2 scope link\n")
    config = backend.with_private_key(Mesh().plan(members(), Networks())[0], KEYS[0].private)
    Mesh().apply(config, node.context)
    ((name, argv),) = node.spawned
    assert name == "mesh"
    assert KEYS[0].private.reveal() not in " ".join(argv)
    assert json.loads(node.inputs[0]())["listenPort"] == 4000
    batch = next(script for argv, script in node.ran if "route replace" in script)
    assert batch.count("route replace") == 4
    assert "route delete 10.64.0.9 dev wg0" in batch
    conflist = json.loads((tmp_path / "cni" / "10-mesh.conflist").read_text())
    assert conflist["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24"}]]


def test_a_second_apply_changes_peers_in_the_running_helper(tmp_path: Path, helper: list[Sequence[str]]) -> None:
    node = FakeNode(tmp_path)
    plan = Mesh().plan(members(), Networks())[0]
    Mesh().apply(plan, node.context)
    Mesh().apply({**plan, "peers": plan["peers"][:1]}, node.context)
    assert len(node.spawned) == 1
    assert helper == []
    Mesh().apply(plan, node.context)
    assert len(helper) == 1
    assert len(json.loads(node.inputs[0]())["peers"]) == 2


def test_a_peer_that_moved_is_met_anew_at_its_new_address(tmp_path: Path, helper: list[Sequence[str]]) -> None:
    node = FakeNode(tmp_path)
    plan = Mesh().plan(members(), Networks())[0]
    Mesh().apply(plan, node.context)
    Mesh().apply(Mesh().moved(plan, "192.0.2.1", {"n1": "192.0.2.99"}), node.context)
    lines = list(helper[-1])
    gone, back = f"public_key={to_hex(KEYS[1].public)}", "endpoint=192.0.2.99:4000"
    assert lines[lines.index(gone) + 1] == "remove=true"
    assert lines.index(back) > lines.index("remove=true")
    assert node.restarted == []


def test_a_helper_whose_own_address_changed_starts_anew_with_it(tmp_path: Path, helper: list[Sequence[str]]) -> None:
    node = FakeNode(tmp_path)
    plan = Mesh().plan(members(), Networks())[0]
    Mesh().apply(plan, node.context)
    Mesh().apply(Mesh().moved(plan, "192.0.2.77", {}), node.context)
    assert node.restarted == [("mesh", "the host's address changed to 192.0.2.77")]
    assert json.loads(node.inputs[0]())["address"] == "192.0.2.77"
    assert helper == []


def test_a_command_that_fails_is_an_error_with_its_output(tmp_path: Path, helper: list[Sequence[str]]) -> None:
    node = FakeNode(tmp_path)
    node.fail = "nft"
    with pytest.raises(CommandFailed, match=r"(?s)nft -f -.*no such luck"):
        Mesh().apply(Mesh().plan(members(), Networks())[0], node.context)


def test_what_a_node_lacks_is_named_with_its_remedy(tmp_path: Path) -> None:
    problems = Mesh().check({}, FakeNode(tmp_path).context)
    assert (f"{tmp_path}/usernetes-mesh is missing", "usernetes bundle build") in problems


def test_pods_are_hidden_only_from_what_is_outside_the_cluster() -> None:
    rules = masquerade_rules(["10.244.0.0/16", "10.64.0.0/16"], "10.244.0.0/16")
    assert "ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 10.64.0.0/16 } masquerade" in rules
    assert bridge_conflist("mesh", "10.244.0.0/24", 1440, "/ipam")["plugins"][0]["ipMasq"] is False
