"""The socket on which a node is asked, and the DNS question it asks itself."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import control


def test_a_request_is_answered_by_its_verb_and_only_its_user_may_ask(tmp_path: Path) -> None:
    path = tmp_path / "s"
    control.serve(path, {"status": lambda request: {"asked": request["verb"]}})
    assert control.ask(path, {"verb": "status"}) == {"asked": "status"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_goes_wrong_there_is_said_here_and_the_node_goes_on(tmp_path: Path) -> None:
    def fail(_: Any) -> None:
        raise ValueError("no such peer")

    control.serve(tmp_path / "s", {"fail": fail, "well": lambda _: 1})
    with pytest.raises(UsernetesError, match="fail: no such peer"):
        control.ask(tmp_path / "s", {"verb": "fail"})
    with pytest.raises(UsernetesError, match="unknown"):
        control.ask(tmp_path / "s", {"verb": "unknown"})
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(tmp_path / "s"))
        rude.sendall(b"not JSON\n")
        assert b"error" in rude.recv(4096)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(tmp_path / "s"))
    assert control.ask(tmp_path / "s", {"verb": "well"}) == 1


def test_a_socket_that_a_killed_node_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    with pytest.raises(UsernetesError, match="refused"):
        control.ask(tmp_path / "s", {"verb": "well"})
    control.serve(tmp_path / "s", {"well": lambda _: 1})
    assert control.ask(tmp_path / "s", {"verb": "well"}) == 1


def test_who_sees_the_socket_is_answered(tmp_path: Path) -> None:
    for number in range(50):
        path = tmp_path / f"{number}.sock"
        answers: list[object] = []

        def look(path: Path = path, answers: list[object] = answers) -> None:
            while not path.exists():
                pass
            answers.append(control.ask(path, {"verb": "status"}))

        looking = threading.Thread(target=look)
        looking.start()
        control.serve(path, {"status": lambda _: "well"})
        looking.join(10)
        assert answers == ["well"]


def test_a_node_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(UsernetesError, match="No such file"):
        control.ask(tmp_path / "none", {"verb": "status"})
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        with pytest.raises(UsernetesError, match="timed out"):
            control.ask(tmp_path / "deaf", {"verb": "status"}, timeout=0.1)


@pytest.mark.parametrize(("reply", "ok"), [(b"\x81\x80\0\1\0\1\0\0\0\0", True), (b"\x81\x83\0\1\0\0\0\0\0\0", False)])
def test_dns_is_well_when_there_is_an_answer_without_an_error(
    monkeypatch: pytest.MonkeyPatch, reply: bytes, ok: bool
) -> None:
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def answer() -> None:
            query, client = server.recvfrom(512)
            asked.append(query)
            server.sendto(query[:2] + reply, client)

        thread = threading.Thread(target=answer)
        thread.start()

        class ToOurPort(socket.socket):
            def sendto(self, data: bytes, address: tuple[str, int]) -> int:  # type: ignore[override]
                return int(super().sendto(data, (address[0], port if address[1] == 53 else address[1])))

        monkeypatch.setattr(socket, "socket", ToOurPort)
        found = control.dns_answer("127.0.0.1", "kubernetes.default.svc.cluster.local")
        thread.join()
    assert found["ok"] is ok
    assert (found["error"] is None) is ok
    assert found["ms"] > 0
    assert b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01" in asked[0]


def test_dns_that_is_silent_says_so() -> None:
    found = control.dns_answer("127.0.0.1", "x", timeout=0.05)
    assert not found["ok"]
    assert found["error"].startswith("127.0.0.1: ")
