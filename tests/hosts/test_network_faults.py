"""The mesh of a real cluster when things break: helpers are killed, cables pulled, packets dropped, ports flooded."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.hosts.meshed import Meshed, eventually, simple_pod
from usernetes_deploy.network.keys import make_key_pair
from usernetes_deploy.network.mesh.uapi import Control, to_hex

pytestmark = pytest.mark.cluster
# One TCP connection for the whole time: it has to survive. Prints the longest silence in seconds, and how much came.
PROBE = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 7000), 10); s.settimeout(30)
print("connected", flush=True)
ends, last, longest, count = time.time() + float(sys.argv[2]), time.time(), 0.0, 0
while time.time() < ends:
    s.sendall(b"x")
    if s.recv(1) != b"x": sys.exit("the connection ended")
    now = time.time(); longest = max(longest, now - last); last = now; count += 1
    time.sleep(0.02)
print(longest, count)
"""
FLOOD = """
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], int(sys.argv[2])))
ends, count = time.time() + 4, 0
while time.time() < ends:
    s.send(bytes([count % 5, 0, 0, 0]) + os.urandom(144)); count += 1
print(count)
"""

DEAF = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0)); print(s.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def echo(meshed: Meshed) -> str:
    """The address of a pod on host 1 that sends back what it gets."""
    where = {"nodeSelector": {"kubernetes.io/hostname": meshed.hosts.names[1]}}
    command = "exec nc -ll -p 7000 -e cat"
    assert meshed.apply(simple_pod("echo", meshed.busybox(), command, **where)).returncode == 0
    return str(meshed.pod("echo")["status"]["podIP"])


class Silence:
    """What a probe found: the longest silence in seconds."""

    seconds = -1.0


@contextmanager
def talking(meshed: Meshed, address: str, seconds: float) -> Iterator[Silence]:
    """Keep one connection from host 0 to `address` busy while the body breaks something."""
    argv = [meshed.python, "-m", "usernetes_deploy.cli", "run", "--", "/usr/bin/python3", "-c", PROBE]
    silence = Silence()
    with subprocess.Popen(
        meshed.argv(0, *argv, address, str(seconds)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as probe:
        assert probe.stdout
        if probe.stdout.readline() != "connected\n":
            pytest.fail(f"no connection: {probe.communicate()[1]}")
        time.sleep(1)
        yield silence
        out, error = probe.communicate(timeout=seconds + 60)
    assert probe.returncode == 0, error
    silence.seconds = float(out.split()[0])


def helper_pid(meshed: Meshed, number: int) -> str:
    """The mesh helper of a node, by its host's process table."""
    directory = meshed.node_directory(number)
    found = meshed.on(number, "pgrep", "-f", f"usernetes-mesh --netns {directory}/", user="root").stdout.split()
    assert len(found) == 1, found
    return found[0]


def test_a_helper_killed_under_traffic_is_back_and_connections_survive(meshed: Meshed, echo: str) -> None:
    with talking(meshed, echo, 8) as silence:
        meshed.on(1, "kill", "-9", helper_pid(meshed, 1), user="root")
    assert silence.seconds < 5
    mesh = meshed.component(1, "mesh")
    assert mesh["restarts"] >= 1
    assert mesh["lastExit"] == "killed by SIGKILL"


def test_a_cable_pulled_for_two_seconds_costs_seconds_not_connections(meshed: Meshed, echo: str) -> None:
    with talking(meshed, echo, 12) as silence:
        meshed.hosts.call("cut", meshed.hosts.names[1])
        time.sleep(2)
        meshed.hosts.call("mend", meshed.hosts.names[1])
    assert 1.5 < silence.seconds < 10


def test_dropped_packets_are_survived(meshed: Meshed, echo: str) -> None:
    rules = "table inet faults { chain incoming { type filter hook input priority 0; meta l4proto udp drop; }; }"
    with talking(meshed, echo, 12) as silence:
        done = subprocess.run(
            meshed.argv(1, "nft", "-f", "-", user="root"), input=rules, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        time.sleep(2)
        meshed.on(1, "nft", "delete", "table", "inet", "faults", user="root")
    assert 1.5 < silence.seconds < 10


def readdress(meshed: Meshed, number: int, old: str, new: str) -> None:
    """What a DHCP client does when its new lease has another address."""
    gateway = f"{old.rpartition('.')[0]}.1"
    script = f"ip addr del {old}/24 dev eth0; ip addr add {new}/24 dev eth0; ip route replace default via {gateway}"
    meshed.hosts.on(meshed.hosts.names[number], script)


def known_addresses(meshed: Meshed) -> dict[str, str]:
    """Where the cluster believes its hosts to be."""
    text = meshed.kubectl("get", "configmap", "-n", "kube-system", "usernetes-hosts", "-o", "json")
    return dict(json.loads(text)["data"])


def test_a_node_whose_hosts_address_changes_is_met_at_the_new_one_and_at_the_old_again(
    meshed: Meshed, echo: str
) -> None:
    name, old = meshed.hosts.names[1], meshed.address(1)
    new = f"{old.rpartition('.')[0]}.111"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "movable"},
               "spec": {"selector": {"app": "echo"}, "ports": [{"port": 7000}]}}  # fmt: skip
    assert meshed.apply(service).returncode == 0
    assert f"{old}:7000" in meshed.ok("expose", "movable")
    for before, after in ((old, new), (new, old)):
        with talking(meshed, echo, 7) as silence:
            readdress(meshed, 1, before, after)
        print(f"{before} became {after}: silent for {silence.seconds:.1f} s")
        assert silence.seconds < 8
        eventually(lambda after=after: known_addresses(meshed)[name] == after, 5, "the hosts' addresses")  # type: ignore[misc]
        ingress = json.loads(meshed.kubectl("get", "service", "movable", "-o", "json"))["status"]["loadBalancer"]
        assert after in [entry["ip"] for entry in ingress["ingress"]]
        assert before not in [entry["ip"] for entry in ingress["ingress"]]
    meshed.ok("expose", "movable", "--off")
    # Its watches of the API began at the old address: it hears of changes all the same.
    meshed.ok("expose", "movable")
    knock = ["timeout", "2", "bash", "-c", f"</dev/tcp/{old}/7000"]
    eventually(lambda: meshed.on(2, *knock).returncode == 0, 10, "the moved host's port")
    meshed.kubectl("delete", "service", "movable")


def test_a_control_plane_without_its_address_says_so_and_is_well_when_it_is_back(meshed: Meshed, echo: str) -> None:
    old = meshed.address(0)
    new = f"{old.rpartition('.')[0]}.110"
    file = f"{meshed.node_directory(0)}/status.json"

    def problems() -> list[str]:
        return list(json.loads(meshed.on(0, "cat", file).stdout)["problems"])

    with talking(meshed, echo, 7) as silence:
        readdress(meshed, 0, old, new)
        try:
            eventually(problems, 5, "the problem")
            (said,) = problems()
        finally:
            readdress(meshed, 0, new, old)
        eventually(lambda: not problems(), 5, "the problem's end")
    print(f"the control plane's address was away: silent for {silence.seconds:.1f} s")
    assert f"{old} is gone from eth0 (now: {new})" in said
    assert "usernetes down and up" in said
    eventually(lambda: json.loads(meshed.usernetes("status", "--json").stdout)["healthy"], 30, "all is well")


def test_a_flood_of_garbage_from_outside_does_not_cut_the_nodes_off(meshed: Meshed, echo: str) -> None:
    status = json.loads(meshed.ok("status", "--json"))
    port = status["nodes"][1]["network"]["endpoint"].rpartition(":")[2]
    with talking(meshed, echo, 8) as silence:
        flood = meshed.on(2, "/usr/bin/python3", "-c", FLOOD, meshed.address(1), port)
    assert int(flood.stdout) > 10_000
    assert silence.seconds < 3
    after = json.loads(meshed.ok("status", "--json"))
    peers = [peer["endpoint"] for node in after["nodes"] for peer in node["network"]["peers"]]
    assert peers == [peer["endpoint"] for node in status["nodes"] for peer in node["network"]["peers"]]


def test_a_peer_that_takes_packets_and_never_answers_does_not_slow_the_others(meshed: Meshed, echo: str) -> None:
    pid = helper_pid(meshed, 0)
    control = Control(f"/proc/{pid}/root/run/usernetes/mesh.sock")
    public = to_hex(make_key_pair().public)
    netns = f"nsenter --net=/proc/{pid}/root{meshed.node_directory(0)}/rk/netns"
    with subprocess.Popen(meshed.argv(2, "/usr/bin/python3", "-c", DEAF, meshed.address(2)), stdout=subprocess.PIPE,
                          text=True) as deaf:  # fmt: skip
        assert deaf.stdout
        port = deaf.stdout.readline().strip()
        control.set([f"public_key={public}", f"endpoint={meshed.address(2)}:{port}", "allowed_ip=10.64.99.99/32"])
        meshed.hosts.on(meshed.hosts.names[0], f"{netns} ip route add 10.64.99.99/32 dev wg0")
        try:
            with talking(meshed, echo, 7) as silence:
                sent = meshed.ok("run", "--", "/usr/bin/python3", "-c", FLOOD, "10.64.99.99", "9")
            (dead,) = [peer for peer in control.peers() if to_hex(peer.public_key) == public]
        finally:
            control.set([f"public_key={public}", "remove=true"])
            meshed.hosts.on(meshed.hosts.names[0], f"{netns} ip route del 10.64.99.99/32 dev wg0")
            deaf.kill()
    print(f"{int(sent)} packets for a deaf peer, others silent for {silence.seconds:.2f} s at most")
    assert int(sent) > 10_000
    assert dead.handshake == 0.0
    assert dead.sent > 0
    assert silence.seconds < 2
