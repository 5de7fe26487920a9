"""What is published on the hosts, what is refused and why, and that it follows the objects."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network.publish import wishes as found
from usernetes_deploy.network.publish.publisher import Exposer, LocalNode
from usernetes_deploy.network.publish.rootlesskit import PRIVILEGED, TAKEN, Forward, PortError, kind_of

NODE_IP = "10.64.0.1"


def service(name: str, *ports: Mapping[str, Any], created: str = "2026-01-01", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "creationTimestamp": created},
        "spec": {"type": "NodePort", "clusterIP": "10.96.1.1", "ports": list(ports), **spec},
        "status": {},
    }


def pod(name: str, *host_ports: int, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    ports = [{"containerPort": 80, "hostPort": port} for port in host_ports]
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"containers": [{"ports": ports}], **spec},
        "status": {"phase": phase},
    }


WEB = {"port": 80, "nodePort": 30080}


class FakePorts:
    """Grants every port but those in `bad`."""

    def __init__(self) -> None:
        self.open: dict[int, Forward] = {}
        self.bad: dict[int, str] = {}
        self.tries = 0

    def add(self, forward: Forward) -> int:
        self.tries += 1
        if forward.port in self.bad:
            raise PortError("no", self.bad[forward.port])
        handle = len(self.open) + self.tries
        self.open[handle] = forward
        return handle

    def remove(self, handle: int) -> None:
        del self.open[handle]

    def numbers(self) -> set[int]:
        return {forward.port for forward in self.open.values()}


class FakeApi:
    """Keeps what was written; the cluster has two hosts, one with two nodes."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.patches: list[tuple[str, Any]] = []

    def get(self, path: str) -> Any:
        assert path.endswith("/configmaps/usernetes-hosts")
        return {"data": {"n0": "192.0.2.1", "n1": "192.0.2.1", "n2": "192.0.2.2"}}

    def request(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        if method == "POST":
            self.events.append(body)
        else:
            self.patches.append((path, body["status"]["loadBalancer"]["ingress"]))


class Node:
    """An exposer with everything around it faked."""

    def __init__(self, *, services: bool = True, leader: bool = True) -> None:
        self.ports, self.api = FakePorts(), FakeApi()
        self.services: list[Any] = []
        self.pods: list[Any] = []
        place = LocalNode("n0", NODE_IP, services, leader)
        self.exposer = Exposer(place, self.ports, self.api, lambda: (self.services, self.pods), threading.Event())  # type: ignore[arg-type]

    def reasons(self) -> list[tuple[str, str]]:
        return [(event["involvedObject"]["name"], event["reason"]) for event in self.api.events]


def test_ports_follow_their_services_as_they_appear_change_and_vanish() -> None:
    node = Node()
    node.services = [service("web", WEB)]
    node.exposer.reconcile()
    assert set(node.ports.open.values()) == {Forward("tcp", 30080, NODE_IP, 30080)}
    node.services = [service("web", {"port": 80, "nodePort": 30081, "protocol": "UDP"})]
    node.exposer.reconcile()
    assert set(node.ports.open.values()) == {Forward("udp", 30081, NODE_IP, 30081)}
    node.services = []
    node.exposer.reconcile()
    assert not node.ports.open


def test_a_cluster_ip_is_not_published() -> None:
    assert found.of_services([service("web", {"port": 80}, type="ClusterIP")], NODE_IP) == ([], [])


def test_a_load_balancer_answers_on_its_own_port_too_and_its_status_names_every_host_once() -> None:
    node = Node()
    node.services = [service("web", {"port": 8080, "nodePort": 30080}, type="LoadBalancer")]
    node.exposer.reconcile()
    assert node.ports.numbers() == {8080, 30080}
    ((path, ingress),) = node.api.patches
    assert path == "/api/v1/namespaces/default/services/web/status"
    assert [entry["ip"] for entry in ingress] == ["192.0.2.1", "192.0.2.2"]
    node.services[0]["status"] = {"loadBalancer": {"ingress": ingress}}
    node.exposer.reconcile()
    assert len(node.api.patches) == 1


def test_a_privileged_port_is_an_event_with_the_port_to_use_instead_and_an_error_in_the_status() -> None:
    node = Node()
    node.ports.bad[80] = PRIVILEGED
    node.services = [service("web", WEB, type="LoadBalancer")]
    node.exposer.reconcile()
    node.exposer.reconcile()
    (event,) = node.api.events
    assert (event["reason"], event["type"]) == ("PortPrivileged", "Warning")
    assert event["message"] == "n0: TCP port 80: no; use port 30080 of the hosts instead"
    assert node.api.patches[0][1][0]["ports"][0]["error"] == "usernetes.dev/PortPrivileged"
    assert node.ports.numbers() == {30080}


def test_a_taken_port_is_published_as_soon_as_it_is_free() -> None:
    node = Node(leader=False)
    node.ports.bad[30080] = TAKEN
    node.services = [service("web", WEB)]
    node.exposer.reconcile()
    assert node.reasons() == [("web", "PortTaken")]
    assert node.exposer.failed
    node.ports.bad.clear()
    node.exposer.reconcile()
    assert node.ports.numbers() == {30080}
    assert not node.exposer.failed


def test_the_older_of_two_services_gets_the_port_and_the_other_an_event() -> None:
    node = Node()
    node.services = [
        service("new", {"port": 8080, "nodePort": 30001}, created="2026-02-01", type="LoadBalancer"),
        service("old", {"port": 8080, "nodePort": 30002}, created="2026-01-01", type="LoadBalancer"),
    ]
    node.exposer.reconcile()
    assert node.reasons() == [("new", "PortTaken")]
    assert {forward.child_port for forward in node.ports.open.values() if forward.port == 8080} == {30002}


def test_source_ranges_are_refused_and_nothing_of_the_service_is_published() -> None:
    node = Node()
    node.services = [service("web", WEB, type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"])]
    node.services[0]["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    node.exposer.reconcile()
    assert not node.ports.open
    assert node.reasons() == [("web", "SourceRangesRefused")]
    assert node.api.patches[0][1] == []


def test_a_load_balancer_of_another_class_is_left_to_it() -> None:
    node = Node()
    node.services = [service("web", WEB, type="LoadBalancer", loadBalancerClass="example.org/other")]
    node.exposer.reconcile()
    assert node.ports.numbers() == {30080}
    assert not node.api.patches


def test_a_service_without_node_ports_is_reached_by_its_cluster_ip() -> None:
    wishes, _ = found.of_services([service("web", {"port": 8080}, type="LoadBalancer")], NODE_IP)
    assert [wish.forward for wish in wishes] == [Forward("tcp", 8080, "10.96.1.1", 8080)]


def test_external_ips_publish_the_services_port() -> None:
    one = service("web", {"port": 8080}, type="ClusterIP", externalIPs=["192.0.2.1"])
    assert [wish.forward.port for wish in found.of_services([one], NODE_IP)[0]] == [8080]


def test_sctp_is_refused_by_name() -> None:
    _, refusals = found.of_services([service("web", {**WEB, "protocol": "SCTP"})], NODE_IP)
    assert [refusal.reason for refusal in refusals] == ["ProtocolNotExposed"]


@pytest.mark.parametrize(
    ("one", "ports"),
    [
        (pod("a", 8080), {8080}),
        (pod("a", 8080, hostNetwork=True), set()),
        (pod("a", 8080, phase="Succeeded"), set()),
    ],
)
def test_host_ports_are_published_while_their_pod_lives(one: dict[str, Any], ports: set[int]) -> None:
    node = Node(services=False)
    node.services, node.pods = [service("web", WEB)], [one]
    node.exposer.reconcile()
    assert node.ports.numbers() == ports


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("listen tcp 0.0.0.0:80: bind: permission denied", PRIVILEGED),
        ("cannot expose privileged port 80, you can add ...", PRIVILEGED),
        ("listen tcp 0.0.0.0:6443: bind: address already in use", TAKEN),
        ("conflict with ID 1", TAKEN),
        ("something else", "PortFailed"),
    ],
)
def test_rootlesskits_words_become_reasons(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def external_name() -> dict[str, Any]:
    """What the API makes of ``type: ExternalName`` with ``externalIPs``: it has no clusterIP."""
    made = service("outside", {"port": 80}, type="ExternalName", externalName="example.com", externalIPs=["192.0.2.9"])
    del made["spec"]["clusterIP"]
    return made


def test_a_service_without_a_cluster_ip_is_refused_and_the_others_are_published() -> None:
    wishes, refusals = found.of_services([external_name(), service("web", WEB, created="2026-01-02")], NODE_IP)
    assert [wish.forward.port for wish in wishes] == [30080]
    assert [(refusal.owner, refusal.reason) for refusal in refusals] == [("uid-outside", "NoClusterIP")]


def test_the_thread_outlives_an_object_that_it_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ports, changed = FakePorts(), threading.Event()
    api: Any = FakeApi()
    rounds: list[int] = []

    class Enough(BaseException):
        """Ends the thread's loop."""

    def objects() -> tuple[list[Any], list[Any]]:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            return [{"metadata": {}}], []  # no object of the API is like this, which is the point
        if len(rounds) == 2:
            return [service("web", WEB)], []
        raise Enough

    monkeypatch.setattr("time.sleep", lambda _: changed.set())
    changed.set()
    exposer = Exposer(LocalNode("node0", NODE_IP, services=True, leader=False), ports, api, objects, changed)
    with pytest.raises(Enough):
        exposer.run()
    assert ports.numbers() == {30080}


def test_what_could_not_be_taken_back_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ports, found = FakePorts(), [service("web", WEB)]
    place = LocalNode("node0", NODE_IP, services=True, leader=False)
    api: Any = FakeApi()
    exposer = Exposer(place, ports, api, lambda: (found, []), threading.Event())
    exposer.reconcile()

    def refuse(_: int) -> None:
        raise UsernetesError("rootlesskit is away")

    found.clear()
    with monkeypatch.context() as away:
        away.setattr(ports, "remove", refuse)
        with pytest.raises(UsernetesError, match="away"):
            exposer.reconcile()
    exposer.reconcile()
    assert ports.numbers() == set()
