"""The API's client: what each answer means, one kept connection that is opened again, and what errors say."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.api import Api, ApiError, client_context, is_momentary, path_of
from usernetes_deploy.errors import TimedOut, UsernetesError

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"x": "1"}}


@dataclass
class Server:
    """A server that gives prepared answers (status, body) by path, and remembers what it was asked."""

    port: int = 0
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    hang_up_after: int | None = None
    slowness: float = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, without its TLS: what this client adds to Python's begins above it."""
    made = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            made.asked.append((self.command, self.path, self.headers.get("Content-Type", ""), body))
            made.connections.add(self.client_address)
            time.sleep(made.slowness)
            status, text = made.answers.get(self.path.partition("?")[0], (404, '{"message": "not found"}'))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())
            if made.hang_up_after == len(made.asked):
                self.close_connection = True  # without a word: the client finds out with its next request

        do_GET = do_PATCH = do_DELETE = do_POST = answer  # noqa: N815  the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        made.port = listening.server_port
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def plain(host: str, port: int, timeout: float, context: object) -> http.client.HTTPConnection:
            assert isinstance(context, ssl.SSLContext)
            return http.client.HTTPConnection(host, port, timeout=timeout)

        monkeypatch.setattr(http.client, "HTTPSConnection", plain)
        yield made
        listening.shutdown()
        thread.join()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    """A client of it."""
    made = Api(server.url, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=2)
    yield made
    made.close()


def test_json_is_parsed_and_text_left_as_it_is(api: Api, server: Server) -> None:
    server.answers = {"/api/v1/nodes": (200, '{"items": []}'), "/readyz": (200, "ok")}
    assert api.get("/api/v1/nodes") == {"items": []}
    assert api.get("/readyz") == "ok"
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (403, '{"message": "nodes is forbidden"}', "nodes is forbidden"),
        (404, '{"message": "not found"}', "not found"),
        (500, "etcd leader changed\n", "etcd leader changed"),
        (503, "", "HTTP 503"),
        (429, "[]", "[]"),
    ],
)
def test_a_refusal_has_its_status_the_servers_words_and_what_was_asked(
    api: Api, server: Server, status: int, text: str, said: str
) -> None:
    server.answers = {"/x": (status, text)}
    with pytest.raises(ApiError) as caught:
        api.get("/x")
    assert (caught.value.status, caught.value.headline()) == (status, f"GET /x: {said}")


def test_ready_means_that_readyz_says_ok(api: Api, server: Server) -> None:
    server.answers = {"/readyz": (200, "ok")}
    assert api.ready()
    server.answers = {"/readyz": (500, "[-]poststarthook/rbac failed")}
    assert not api.ready()
    server.answers = {"/readyz": (200, "almost")}
    assert not api.ready()


@pytest.mark.parametrize(("status", "serves"), [(200, True), (404, True), (401, False), (403, False), (503, False)])
def test_an_object_is_served_when_it_is_there_or_known_not_to_be(
    api: Api, server: Server, status: int, serves: bool
) -> None:
    server.answers = {"/api/v1/nodes/a": (status, "{}")}
    assert api.serves("/api/v1/nodes/a") == serves


def test_a_server_that_does_not_answer_is_neither_ready_nor_serving(server: Server) -> None:
    server.answers = {"/readyz": (200, "ok")}
    server.slowness = 0.3
    api = Api(server.url, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=0.05)
    assert not api.ready()
    assert not api.serves("/readyz")
    with pytest.raises(TimedOut, match=r"GET /readyz: no answer within 0\.05 s"):
        api.get("/readyz")
    api.close()


def test_a_connection_closed_meanwhile_is_opened_once_more(api: Api, server: Server) -> None:
    server.answers = {"/readyz": (200, "ok")}
    server.hang_up_after = 1
    assert [api.get("/readyz") for _ in range(3)] == ["ok"] * 3
    assert len(server.connections) == 2
    assert len(server.asked) == 3


def test_a_server_that_is_gone_is_an_error_with_status_0() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = Api(f"https://127.0.0.1:{port}", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(ApiError, match="Connection refused") as caught:
        api.get("/readyz")
    assert caught.value.status == 0
    assert f"https://127.0.0.1:{port}/readyz" in str(caught.value)
    assert not api.ready()
    assert not api.serves("/readyz")


def test_applying_is_a_forced_server_side_apply(api: Api, server: Server) -> None:
    server.answers = {"/api/v1/namespaces/b/configmaps/a": (200, "{}")}
    api.apply(CONFIG_MAP)
    ((method, path, kind, body),) = server.asked
    assert (method, kind) == ("PATCH", "application/apply-patch+yaml")
    assert path == "/api/v1/namespaces/b/configmaps/a?fieldManager=usernetes&force=true"
    assert json.loads(body) == CONFIG_MAP


def test_deleting_what_is_not_there_is_fine_and_what_is_forbidden_is_not(api: Api, server: Server) -> None:
    api.delete(CONFIG_MAP, grace=0)
    assert server.asked[0][:2] == ("DELETE", "/api/v1/namespaces/b/configmaps/a?gracePeriodSeconds=0")
    server.answers = {"/api/v1/namespaces/b/configmaps/a": (403, '{"message": "no"}')}
    with pytest.raises(ApiError, match="no"):
        api.delete(CONFIG_MAP)


def test_threads_share_the_connection_one_request_at_a_time(api: Api, server: Server) -> None:
    server.answers = {f"/{number}": (200, str(number)) for number in range(20)}
    found: list[int] = []
    threads = [threading.Thread(target=lambda n=number: found.append(api.get(f"/{n}"))) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(20))
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("version", "kind", "path"),
    [
        ("v1", "Node", "/api/v1/nodes/x"),
        ("v1", "Pod", "/api/v1/namespaces/default/pods/x"),
        ("v1", "Endpoints", "/api/v1/namespaces/default/endpoints/x"),
        ("storage.k8s.io/v1", "StorageClass", "/apis/storage.k8s.io/v1/storageclasses/x"),
        ("networking.k8s.io/v1", "NetworkPolicy", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/x"),
    ],
)
def test_an_objects_path_follows_its_kind(version: str, kind: str, path: str) -> None:
    assert path_of({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}) == path


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsernetesError, match=f"load {tmp_path}/ca.crt, {tmp_path}/a.crt and {tmp_path}/a.key"):
        client_context(*(str(tmp_path / name) for name in ("ca.crt", "a.crt", "a.key")))


@pytest.mark.parametrize(
    "momentary", [ApiError("etcd", 500), ApiError("busy", 429), ApiError("refused"), TimedOut("no answer within 10 s")]
)
def test_a_server_that_has_too_much_to_do_is_worth_asking_again(momentary: UsernetesError) -> None:
    assert is_momentary(momentary)


@pytest.mark.parametrize("final", [ApiError("no", 403), ApiError("not found", 404), UsernetesError("no kubeconfig")])
def test_what_asking_again_does_not_help_is_told_apart(final: UsernetesError) -> None:
    assert not is_momentary(final)
