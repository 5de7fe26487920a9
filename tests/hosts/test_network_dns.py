"""Names on a host whose resolver is silent, and then is one on its loopback: a cluster's own are there all the time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.hosts.meshed import Meshed, eventually

pytestmark = pytest.mark.cluster
HOST = 2  # the one that carries no node of the other cluster
OUTSIDE = "somewhere.example."
# Answers every question for an address with 192.0.2.77, and every other with nothing.
RESOLVER = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.53", 53)); print("listening", flush=True)
while True:
    q, who = s.recvfrom(512)
    end = q.index(0, 12) + 5
    a = q[end - 4:end - 2] == bytes([0, 1])
    answer = bytes([192, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 77]) if a else b""
    s.sendto(q[:2] + bytes([129, 128, 0, 1, 0, a, 0, 0, 0, 0]) + q[12:end] + answer, who)
"""


def use_resolver(meshed: Meshed, server: str) -> None:
    """Make `server` the only one of the host."""
    script = f"rm -f /etc/resolv.conf; echo nameserver {server} > /etc/resolv.conf"
    assert meshed.on(HOST, "sh", "-c", script, user="root").returncode == 0


def look_up(meshed: Meshed, name: str) -> tuple[str, float]:
    """The address that a process inside the cluster gets for a name, "" for none, and the seconds that it took."""
    script = f"s=$(date +%s.%N); getent ahostsv4 {name} | head -n 1 | cut -d' ' -f1; e=$(date +%s.%N); echo took $s $e"
    done = meshed.usernetes("run", "--cluster", "dns", "--", "sh", "-c", script, number=HOST)
    assert done.returncode == 0, done.stderr
    address, _, took = done.stdout.rpartition("took ")
    began, ended = map(float, took.split())
    return address.strip(), ended - began


@pytest.fixture(scope="module")
def silent(meshed: Meshed) -> Iterator[str]:
    """An address in the hosts' network that nobody has; a cluster of one node whose host asks it for names."""
    before = meshed.on(HOST, "cat", "/etc/resolv.conf").stdout.split()
    address = meshed.address(0).rpartition(".")[0] + ".250"
    use_resolver(meshed, address)
    try:
        yield address
    finally:
        meshed.usernetes("down", "--cluster", "dns", number=HOST)
        use_resolver(meshed, before[before.index("nameserver") + 1])


def test_a_silent_resolver_is_a_warning_with_its_remedy_and_cluster_names_answer(meshed: Meshed, silent: str) -> None:
    done = meshed.usernetes(
        "up", "--launcher", "local", "--nodes", "1", "--cluster", "dns", "--bundle", str(meshed.bundle), number=HOST
    )
    assert done.returncode == 0, done.stderr
    assert f"warning: no resolver in /etc/resolv.conf answers ({silent}): pods will not resolve" in done.stderr
    assert "fix: name one that this host reaches: --set network.nameservers=" in done.stderr
    dns = json.loads(meshed.usernetes("status", "--cluster", "dns", "--json", number=HOST).stdout)["dns"]
    assert dns["ok"] and dns["ms"] < 1000
    assert dns["outside"] == {"asked": [silent, "10.0.2.3"], "silent": [silent, "10.0.2.3"]}
    said = meshed.usernetes("status", "--cluster", "dns", number=HOST).stdout
    assert f"names outside the cluster: no answer from {silent}, 10.0.2.3; fix: name one" in said
    address, seconds = look_up(meshed, "kubernetes.default.svc.cluster.local.")
    assert (address, seconds < 2) == ("10.96.0.1", True)


def test_names_outside_fail_at_once_when_nobody_answers(meshed: Meshed, silent: str) -> None:
    # The first question finds it out; getent asks again after a failure.
    eventually(lambda: look_up(meshed, OUTSIDE)[1] < 1, 30, "an answer without waiting")
    assert look_up(meshed, OUTSIDE)[0] == ""


def test_a_resolver_on_the_hosts_loopback_is_asked_through_the_nat_as_soon_as_it_is_there(
    meshed: Meshed, silent: str
) -> None:
    argv = meshed.argv(HOST, "/usr/bin/python3", "-c", RESOLVER, user="root")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as resolver:
        try:
            assert resolver.stdout and resolver.stdout.readline() == "listening\n"
            use_resolver(meshed, "127.0.0.53")
            eventually(lambda: look_up(meshed, OUTSIDE)[0] == "192.0.2.77", 30, "the answer of the loopback's")
            status = meshed.usernetes("status", "--cluster", "dns", number=HOST).stdout
            assert f"no answer from {silent}; asking 10.0.2.3" in status
            warned = meshed.usernetes("check", "--launcher", "local", "--nodes", "1", number=HOST).stderr
            assert "no resolver" not in warned
        finally:
            resolver.terminate()
