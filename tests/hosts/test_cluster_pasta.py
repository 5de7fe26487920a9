"""A node whose way to the outside is pasta: out to the host's network, in by published ports, never to its loopback."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.clusters import Account, Cluster, bring_up, host_address, wait_for
from tests.hosts.meshed import simple_pod

pytestmark = pytest.mark.cluster
WEB = "mkdir /www; echo inside > /www/index.html; exec httpd -f -p 8080 -h /www"


class Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"outside\n")

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(address: str) -> Iterator[int]:
    """The port of a web server of this machine, outside of every cluster."""
    with http.server.ThreadingHTTPServer((address, 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def outside(account: Account) -> Iterator[Cluster]:
    if not shutil.which("pasta"):
        pytest.skip("pasta (package passt) is not installed")
    made = bring_up(account, "outside", "--nodes", "2", "--durability", "memory", "--set", "network.outer=pasta")
    image = next(name for name in made.status()["nodes"][0]["images"] if "/busybox:" in name)
    made.apply(simple_pod("web", image, WEB))
    made.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    yield made
    made.usernetes("down")


def pastas(cluster: Cluster, node: int) -> list[int]:
    """The pasta of a node, by the rootlesskit that it is a child of."""
    parent = json.loads((cluster.node_folder(node) / "keeper.json").read_text())["rootlesskit"]
    found = []
    for pid, words in cluster.account.processes().items():
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace") if words.startswith("pasta ") else ""
        if stat and int(stat.rpartition(")")[2].split()[1]) == parent:
            found.append(pid)
    return found


def test_each_node_has_one_and_status_says_so(outside: Cluster) -> None:
    assert {node["outer"] for node in outside.status()["nodes"]} == {"pasta"}
    assert [len(pastas(outside, node)) for node in (0, 1)] == [1, 1]
    folders = [str(outside.node_folder(node)) for node in (0, 1)]
    words = outside.account.processes().values()
    assert not [line for line in words if line.startswith("slirp4netns") and any(folder in line for folder in folders)]


def test_pods_and_run_reach_the_hosts_network(outside: Cluster) -> None:
    address = host_address()
    with serving(address) as port:
        argv = ("timeout", "5", "wget", "-q", "-O", "-", f"http://{address}:{port}/")
        assert outside.kubectl("exec", "web", "--", *argv) == "outside\n"
        done = outside.usernetes("run", "--", "curl", "-sS", "-m", "5", f"http://{address}:{port}/")
        assert done.stdout == "outside\n", done.stderr


def test_nothing_of_the_hosts_loopback_is_reached_from_inside(outside: Cluster) -> None:
    with serving("127.0.0.1") as port:
        for address in ("127.0.0.1", "10.0.2.2"):
            done = outside.usernetes("run", "--", "curl", "-sS", "-m", "2", f"http://{address}:{port}/")
            assert done.returncode in (7, 28), done.stdout  # refused, or no answer
            argv = ("timeout", "2", "wget", "-q", "-O", "-", f"http://{address}:{port}/")
            assert "outside" not in outside.usernetes("kubectl", "exec", "web", "--", *argv).stdout


def test_a_service_is_published_on_the_host(outside: Cluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"type": "NodePort", "selector": {"app": "web"},
                        "ports": [{"port": 80, "targetPort": 8080}]}}  # fmt: skip
    outside.apply(service)
    (port,) = outside.get("service", "web")["spec"]["ports"]

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://{host_address()}:{port['nodePort']}/", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    assert wait_for(page, "the page from outside") == "inside\n"


def test_a_node_whose_pasta_dies_is_started_again(outside: Cluster) -> None:
    (before,) = pastas(outside, 1)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: outside.status()["nodes"][1]["restarts"] == 1, "the node is started again")
    wait_for(lambda: outside.usernetes("status").returncode == 0, "the cluster is well again", 120)
    assert outside.status()["nodes"][1]["lastExit"] == "pasta ended"
    (after,) = pastas(outside, 1)
    assert after != before


def test_down_leaves_nothing(outside: Cluster) -> None:
    folders = [outside.node_folder(node) for node in (0, 1)]
    assert outside.usernetes("down").returncode == 0
    assert not [folder for folder in folders if folder.exists()]
    words = outside.account.processes().values()
    assert not [line for line in words if line.startswith("pasta ") or any(str(folder) in line for folder in folders)]
