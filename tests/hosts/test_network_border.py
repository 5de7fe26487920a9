"""What the hosts of a real cluster answer on: nothing but the API and the mesh, and what is exposed, while it is."""

from __future__ import annotations

import json
import re

import pytest

from tests.hosts.meshed import Meshed, eventually, simple_pod

pytestmark = pytest.mark.cluster
WEB = "mkdir /www; echo here > /www/index.html; exec httpd -f -p 8080 -h /www"
SCAN = """
import selectors, socket, sys
host, found, ports = sys.argv[1], [], iter(range(1, 65536))
watched = selectors.DefaultSelector()
def begin():
    for port in ports:
        s = socket.socket(); s.setblocking(False)
        code = s.connect_ex((host, port))
        if code == 0: found.append(port); s.close(); continue
        if code == 115: watched.register(s, selectors.EVENT_WRITE, port); return True
        s.close()
    return False
while len(watched.get_map()) < 200 and begin(): pass
while watched.get_map():
    for key, _ in watched.select(5):
        if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0: found.append(key.data)
        watched.unregister(key.fileobj); key.fileobj.close(); begin()
print(*sorted(found))
"""


def open_tcp_ports(meshed: Meshed, number: int) -> set[int]:
    """A full connect scan of a host, from the outsider."""
    done = meshed.on(2, "/usr/bin/python3", "-c", SCAN, meshed.address(number), timeout=120)
    assert done.returncode == 0, done.stderr
    return set(map(int, done.stdout.split()))


def own_udp_ports(meshed: Meshed, number: int) -> set[int]:
    """UDP sockets on the host's network beyond loopback; those of the NAT belong to what pods send to the outside."""
    lines = meshed.on(number, "ss", "-Hlunp", user="root").stdout.splitlines()
    addresses = [line.split()[3] for line in lines if "slirp4netns" not in line]
    return {int(item.rpartition(":")[2]) for item in addresses if not item.startswith(("127.", "[::1]"))}


def test_only_the_api_and_one_udp_port_answer_before_and_after_an_exposure(meshed: Meshed) -> None:
    image = meshed.busybox()
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "border"},
               "spec": {"selector": {"app": "border"}, "ports": [{"port": 8081, "targetPort": 8080}]}}  # fmt: skip
    assert meshed.apply(simple_pod("border", image, WEB), service).returncode == 0
    meshed.pod("border")
    listed = json.loads(meshed.ok("ports", "--json"))["ports"]
    (api,) = [item["port"] for item in listed if item["for"] == "the API"]
    mesh = {item["port"] for item in listed if item["protocol"] == "udp"}
    sshd = {22}
    before = [open_tcp_ports(meshed, number) - sshd for number in (0, 1)]
    assert before == [{api}, set()]
    assert own_udp_ports(meshed, 0) == own_udp_ports(meshed, 1) == mesh
    answers = meshed.ok("expose", "border").split()
    assert answers == [f"{meshed.address(0)}:8081", f"{meshed.address(1)}:8081"]
    for where in answers:
        assert meshed.on(2, "curl", "-sS", "-m", "5", f"http://{where}/").stdout.strip() == "here"
    (node_port,) = json.loads(meshed.kubectl("get", "service", "border", "-o", "json"))["spec"]["ports"]
    during = [open_tcp_ports(meshed, number) - sshd for number in (0, 1)]
    assert during == [{api, 8081, node_port["nodePort"]}, {8081, node_port["nodePort"]}]
    meshed.ok("expose", "border", "--off")
    eventually(lambda: "border" not in meshed.ok("ports"), 10, "the ports are taken back")
    assert [open_tcp_ports(meshed, number) - sshd for number in (0, 1)] == before


def events(meshed: Meshed, name: str) -> list[tuple[str, str]]:
    found = json.loads(meshed.kubectl("get", "events", "-o", "json"))["items"]
    return [(item["reason"], item["message"]) for item in found if item["involvedObject"]["name"] == name]


def test_a_privileged_port_is_an_event_and_the_service_answers_on_its_node_port(meshed: Meshed) -> None:
    meshed.on(0, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=1024", user="root")
    meshed.on(1, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=1024", user="root")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "low"},
               "spec": {"selector": {"app": "border"}, "ports": [{"port": 80, "targetPort": 8080}]}}  # fmt: skip
    assert meshed.apply(service).returncode == 0
    where = meshed.ok("expose", "low").split()[0]
    assert re.fullmatch(rf"{meshed.address(0)}:3\d{{4}}", where)
    assert meshed.on(2, "curl", "-sS", "-m", "5", f"http://{where}/").stdout.strip() == "here"
    eventually(lambda: "PortPrivileged" in dict(events(meshed, "low")), 10, "the event")
    assert "instead" in dict(events(meshed, "low"))["PortPrivileged"]
    meshed.ok("expose", "low", "--off")


def test_a_port_that_another_program_has_is_an_event_until_it_is_free(meshed: Meshed) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"},
               "spec": {"selector": {"app": "border"}, "ports": [{"port": 22, "targetPort": 8080}]}}  # fmt: skip
    for number in (0, 1):
        meshed.on(number, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0", user="root")
    assert meshed.apply(service).returncode == 0
    meshed.ok("expose", "taken")
    eventually(lambda: "PortTaken" in dict(events(meshed, "taken")), 10, "the event")
    meshed.ok("expose", "taken", "--off")


def test_source_ranges_are_refused_aloud(meshed: Meshed) -> None:
    ranges = {"loadBalancerSourceRanges": ["192.0.2.0/24"]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ranged"},
               "spec": {"selector": {"app": "border"}, "ports": [{"port": 8099, "targetPort": 8080}],
                        "type": "LoadBalancer", **ranges}}  # fmt: skip
    assert meshed.apply(service).returncode == 0
    done = meshed.usernetes("expose", "ranged")
    assert done.returncode == 1
    assert "loadBalancerSourceRanges cannot be honoured" in done.stderr
    assert meshed.on(2, "curl", "-sS", "-m", "2", f"http://{meshed.address(0)}:8099/").returncode != 0
    meshed.kubectl("delete", "service", "ranged")


def test_a_host_port_answers_on_its_pods_host_while_the_pod_lives(meshed: Meshed) -> None:
    port = {"ports": [{"containerPort": 8080, "hostPort": 8085}]}
    where = {"nodeSelector": {"kubernetes.io/hostname": meshed.hosts.names[1]}}
    assert meshed.apply(simple_pod("hostport", meshed.busybox(), WEB, container=port, **where)).returncode == 0
    meshed.pod("hostport")
    url = f"http://{meshed.address(1)}:8085/"
    eventually(lambda: meshed.on(2, "curl", "-sS", "-m", "2", url).stdout.strip() == "here", 10, "the host port")
    meshed.kubectl("delete", "pod", "hostport", "--now")
    eventually(lambda: meshed.on(2, "curl", "-sS", "-m", "2", url).returncode != 0, 10, "the port's end")


def test_exposing_a_service_that_is_not_there_names_those_that_are(meshed: Meshed) -> None:
    done = meshed.usernetes("expose", "nothing")
    assert done.returncode == 2
    assert "there is no Service nothing in namespace default; there are: " in done.stderr
    assert "kubernetes" in done.stderr
