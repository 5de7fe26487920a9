"""A small bundle, and a web server that can misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from usernetes_deploy.bundle import contents

FILES = {"bin/tool": b"#!/bin/sh\necho tool\n", "cni/bridge": b"bridge" * 1000, "images/pause.tar": b"layers" * 5000}


def write_bundle(root: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """A sound bundle with these files in `root`."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(0o644 if path.startswith("images/") else 0o755)
    component = {"name": "kubernetes", "version": "v1.36.3", "module": "k8s.io/kubernetes", "licence": "Apache-2.0"}
    images = {"localhost/usernetes/pause:3.10.2": "images/pause.tar"}
    contents.write_manifest(root, contents.describe(root, components=[component], images=images))
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A bundle's folder."""
    return write_bundle(tmp_path / "source")


class Server:
    """Serves `answers` by path, each the way it says; `asked` is what was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answer = outer.answers.get(self.path)
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def url(self, path: str) -> str:
        """The address of `path` here."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def serve(self, path: str, content: bytes, *, claims: int | None = None, pause: float = 0, drip: int = 0) -> str:
        """Answer `path` with `content`; `claims` is a false length, `pause` and `drip` slow it. Returns the URL."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Length", str(len(content) if claims is None else claims))
            request.end_headers()
            step = drip or len(content) or 1
            for start in range(0, len(content), step):
                try:
                    request.wfile.write(content[start : start + step])
                    request.wfile.flush()
                except OSError:
                    return
                time.sleep(pause)

        self.answers[path] = answer
        return self.url(path)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on loopback."""
    running = Server()
    yield running
    running.close()
