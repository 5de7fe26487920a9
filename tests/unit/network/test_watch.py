"""The watch: a list, then events, and what ends it."""

from __future__ import annotations

import http.client
import http.server
import io
import json
import socket
import ssl
import threading
import time
from typing import Any

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network.watch import PROBES, Watch, events, keep_alive


def item(uid: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, **fields}


@pytest.fixture
def watch() -> Watch:
    return Watch("https://192.0.2.1:6443", ssl.create_default_context(), "/api/v1/services", lambda: None)


def test_events_are_read_a_line_each() -> None:
    lines = b"".join(json.dumps({"type": "ADDED", "object": item(uid)}).encode() + b"\n" for uid in "ab")
    assert [event["object"]["metadata"]["uid"] for event in events(io.BytesIO(lines))] == ["a", "b"]


def test_objects_follow_the_events(watch: Watch) -> None:
    assert watch.take({"type": "ADDED", "object": item("a", n=1)})
    assert watch.take({"type": "MODIFIED", "object": item("a", n=2)})
    assert watch.objects == {"a": item("a", n=2)}
    assert watch.take({"type": "DELETED", "object": item("a")})
    assert watch.objects == {}


def test_a_bookmark_and_the_end_of_the_unknown_change_nothing(watch: Watch) -> None:
    assert not watch.take({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    assert not watch.take({"type": "DELETED", "object": item("a")})


def test_a_version_too_old_ends_the_watch_so_that_it_lists_again(watch: Watch) -> None:
    with pytest.raises(UsernetesError, match="too old resource version"):
        watch.take({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}})


def test_a_watch_that_is_told_to_lists_again_at_once() -> None:
    served: list[str] = []
    hanging = threading.Event()

    class Api(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.append(self.path)
            watched = "watch=true" in self.path
            body = b"" if watched else b'{"metadata": {"resourceVersion": "1"}, "items": []}'
            self.send_response(200)
            self.send_header(*(("Transfer-Encoding", "chunked") if watched else ("Content-Length", str(len(body)))))
            self.end_headers()
            self.wfile.write(body)
            if watched:
                hanging.wait(20)  # a connection that nothing comes from any more

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        watch = Plain(f"https://127.0.0.1:{server.server_port}", ssl.create_default_context(), "/nodes", lambda: None)
        watch.again()  # nothing to drop yet
        watch.start()
        ends = time.monotonic() + 10
        while len(served) < 2 and time.monotonic() < ends:
            time.sleep(0.02)
        while len(served) < 4 and time.monotonic() < ends:
            watch.again()
            time.sleep(0.1)
        hanging.set()
        server.shutdown()
    assert served[0] == served[2] == "/nodes"
    assert "watch=true" in served[1]


class Plain(Watch):
    """Without TLS."""

    def _connect(self) -> http.client.HTTPConnection:  # type: ignore[override]
        return http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=20)


def test_the_kernel_asks_whether_the_server_is_still_there() -> None:
    with socket.socket() as connection:
        keep_alive(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        seconds = [connection.getsockopt(socket.IPPROTO_TCP, option) for option, _ in PROBES]
    idle, between, times = seconds
    assert idle + between * times <= 120
