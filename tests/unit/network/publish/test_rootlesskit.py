"""The client of rootlesskit's port API, against a server on a unix socket."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.network.publish.rootlesskit import FAILED, TAKEN, Forward, PortError, RootlesskitPorts

FORWARD = Forward("tcp", 8080, "10.64.0.1", 80)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as rootlesskit does."""

    seen: list[tuple[str, Any]]

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self, status: int, document: Any) -> None:
        text = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(("POST", body))
        if body["parentPort"] == 1:
            self._answer(400, {"message": "listen tcp 0.0.0.0:1: bind: address already in use"})
        else:
            self._answer(201, {"id": 7, "spec": body})

    def do_DELETE(self) -> None:
        self.seen.append(("DELETE", self.path))
        self._answer(200, None)

    def do_GET(self) -> None:
        self._answer(200, [{"id": 7}])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    seen: list[tuple[str, Any]] = []
    handler = type("OneHandler", (Handler,), {"seen": seen})
    with socketserver.UnixStreamServer(str(tmp_path / "api.sock"), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(tmp_path / "api.sock"), seen
        running.shutdown()
        thread.join()


def test_a_port_is_published_listed_and_taken_back(server: tuple[str, list[tuple[str, Any]]]) -> None:
    path, seen = server
    ports = RootlesskitPorts(path)
    assert ports.add(FORWARD) == 7
    assert ports.published() == [{"id": 7}]
    ports.remove(7)
    assert seen[0][1] == {
        "proto": "tcp",
        "parentIP": FORWARD.parent_ip,
        "parentPort": 8080,
        "childIP": "10.64.0.1",
        "childPort": 80,
    }
    assert seen[1] == ("DELETE", "/v1/ports/7")


def test_a_refusal_says_why(server: tuple[str, list[tuple[str, Any]]]) -> None:
    with pytest.raises(PortError, match="address already in use") as caught:
        RootlesskitPorts(server[0]).add(FORWARD._replace(port=1))
    assert caught.value.kind == TAKEN


def test_a_rootlesskit_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(PortError, match="rootlesskit does not answer") as caught:
        RootlesskitPorts(str(tmp_path / "none")).add(FORWARD)
    assert caught.value.kind == FAILED
