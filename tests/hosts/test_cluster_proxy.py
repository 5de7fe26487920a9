"""Behind a site's HTTP proxy: images come through it, the cluster itself is never asked through it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hosts.clusters import Account, Cluster, host_address, wait_for
from tests.hosts.registry import Registry

pytestmark = pytest.mark.cluster
NOBODY = "http://127.0.0.1:9"  # nothing listens there


@dataclass
class Proxy:
    """A proxy for plain HTTP, and what it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serve_proxy(address: str, registry: str) -> Iterator[Proxy]:
    """Serve on a free port; a host that nobody knows (`.test`) is the registry at `registry`."""
    proxy = Proxy("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.asked.append(self.path)
            wanted = urlsplit(self.path)
            there = urlsplit(registry)
            connection = http.client.HTTPConnection(str(there.hostname), there.port, timeout=20)
            connection.request(self.command, wanted._replace(scheme="", netloc="").geturl())
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type") or "")
            self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
            self.end_headers()
            self.wfile.write(body)  # none for HEAD
            connection.close()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        proxy.url = f"http://{address}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()


def test_the_api_is_never_asked_through_a_proxy(cluster: Cluster) -> None:
    env = {"HTTPS_PROXY": NOBODY, "https_proxy": NOBODY, "ALL_PROXY": NOBODY}
    for words in (["kubectl", "get", "nodes"], ["status"]):
        done = cluster.account.usernetes(*words[:1], "--cluster", cluster.name, *words[1:], env=env)
        assert done.returncode == 0, done.stderr


def test_images_are_pulled_through_the_proxy_of_ups_environment(account: Account, registry: Registry) -> None:
    registry.push("open/behind", Path("/bin/busybox"))
    with serve_proxy(host_address(), registry.url) as proxy:
        spec = ["--set", 'registries=[{"name": "far.test", "url": "http://far.test"}]']
        done = account.usernetes("up", "--cluster", "proxied", *spec, env={"HTTP_PROXY": proxy.url})
        assert done.returncode == 0, done.stderr
        made = Cluster(account, "proxied")
        try:
            main = {"name": "main", "image": "far.test/open/behind:1"}
            pod = {"restartPolicy": "Never", "containers": [main]}
            made.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "far"}, "spec": pod})
            wait_for(lambda: made.get("pod", "far")["status"]["phase"] == "Succeeded", "the pulled image runs")
            assert any(path.startswith("http://far.test/v2/open/behind/") for path in proxy.asked)
            assert not any(made.record()["server"].removeprefix("https://") in path for path in proxy.asked)
        finally:
            account.usernetes("down", "--cluster", "proxied")
