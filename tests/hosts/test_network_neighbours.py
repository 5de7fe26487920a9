"""Two clusters of two users on the same hosts, with the same names, addresses and ports inside: nothing crosses."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clusters import users
from tests.hosts.meshed import Meshed, eventually, simple_pod
from tests.users import make_user
from usernetes_deploy.network.mesh.uapi import Control, to_hex

pytestmark = pytest.mark.cluster
SPEC = """
launcher: ssh
nodes: 2
hosts: [HOSTS]
durability: memory
meshPort: 18472
network: {backend: BACKEND}
"""
CLUSTER_IP, NODE_PORT = "10.96.77.77", 30777
EVERY_BACKEND = pytest.mark.parametrize("neighbour", ["mesh", "flannel"], indirect=True)
OVER_MESH = pytest.mark.parametrize("neighbour", ["mesh"], indirect=True)
ASK = r"for ip do printf 'GET / HTTP/1.0\r\n\r\n' | timeout 2 nc $ip 8080; done; true"
CONNECT = """
import socket, sys
for path in sys.argv[1:]:
    try: socket.socket(socket.AF_UNIX).connect(path); print(path, "OPEN")
    except OSError as error: print(path, error.strerror)
"""


@pytest.fixture(scope="module")
def neighbour(request: pytest.FixtureRequest, meshed: Meshed) -> Iterator[Meshed]:
    """The cluster of another user on the first one's two hosts, over each backend."""
    if not (meshed.bundle / "bin" / {"mesh": "usernetes-mesh", "flannel": "flanneld"}[request.param]).exists():
        pytest.skip(f"the bundle has no {request.param}")
    name = users()[1]
    make_user(name)
    other = Meshed(dataclasses.replace(meshed.hosts, user=name), meshed.python, meshed.bundle)
    settle(other)
    spec = SPEC.replace("HOSTS", ", ".join(meshed.hosts.names[:2])).replace("BACKEND", request.param)
    subprocess.run(other.argv(0, "sh", "-c", "cat > ~/cluster.yaml"), input=spec, text=True, check=True)
    try:
        other.ok("up", "--file", "cluster.yaml", "--bundle", str(other.bundle))
        for cluster, word in ((meshed, "ours"), (other, "theirs")):
            furnish(cluster, word)
        yield other
    finally:
        other.usernetes("down")
        for kind in ("pod", "service"):
            meshed.usernetes("kubectl", "delete", kind, "twin", "--now", "--ignore-not-found")


def settle(other: Meshed) -> None:
    """Give the user a home of its own on each host, and a way from the first host to the others."""
    who, state = pwd.getpwnam(other.hosts.user), other.hosts.state
    subprocess.run(["usermod", "-p", "*", who.pw_name], check=True)  # sshd refuses an account whose password is "!"
    Path(who.pw_dir).mkdir(exist_ok=True)
    for host in other.hosts.names[:2]:
        own = state / host / f"home-{who.pw_name}"
        if not own.exists():
            own.mkdir(mode=0o700)
            os.chown(own, who.pw_uid, who.pw_gid)
            other.hosts.on(host, f"mount --bind {own} {who.pw_dir}")
    ssh = state / other.hosts.names[0] / f"home-{who.pw_name}" / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "key").write_bytes((state / "ssh" / "user_ed25519").read_bytes())
    config = (state / "ssh_config").read_text().replace(f"{state}/ssh/user_ed25519", "~/.ssh/key")
    first = pwd.getpwuid((state / "ssh" / "user_ed25519").stat().st_uid).pw_name
    (ssh / "config").write_text(config.replace(f"User {first}", f"User {who.pw_name}"))
    for path in (ssh, ssh / "key", ssh / "config"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, who.pw_uid, who.pw_gid)


def furnish(cluster: Meshed, word: str) -> None:
    """The same pod and the same Service everywhere; only the page differs."""
    page = f"mkdir /www; echo {word} > /www/index.html; exec httpd -f -p 8080 -h /www"
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "twin"},
        "spec": {"selector": {"app": "twin"}, "type": "NodePort", "clusterIP": CLUSTER_IP,
                 "ports": [{"port": 8080, "nodePort": NODE_PORT}]},
    }  # fmt: skip
    where = {"nodeSelector": {"kubernetes.io/hostname": cluster.hosts.names[1]}}
    done = cluster.apply(simple_pod("twin", cluster.busybox(), page, **where), service)
    assert done.returncode == 0, done.stderr
    cluster.pod("twin")


def answers(cluster: Meshed, *urls: str) -> list[str]:
    """What a process of the host inside the cluster's network gets from each; "" where nothing answers."""
    script = 'for url do curl -sS -m 2 "$url" 2>/dev/null || echo; done'
    return cluster.ok("run", "--", "sh", "-c", script, "sh", *urls).splitlines()


def record(cluster: Meshed) -> dict[str, Any]:
    """cluster.json."""
    done = cluster.on(0, "sh", "-c", "cat ~/.local/state/usernetes/*/cluster.json")
    return dict(json.loads(done.stdout))


def both_ways(one: Meshed, other: Meshed) -> list[tuple[Meshed, Meshed]]:
    return [(one, other), (other, one)]


@EVERY_BACKEND
def test_names_and_addresses_lead_each_user_to_its_own_and_never_across(meshed: Meshed, neighbour: Meshed) -> None:
    pods = [f"http://{cluster.pod('twin')['status']['podIP']}:8080/" for cluster in (meshed, neighbour)]
    service = f"http://{CLUSTER_IP}:8080/"
    urls = ["http://twin.default.svc:8080/", service, f"http://10.64.0.2:{NODE_PORT}/", *pods]
    for number, (cluster, word) in enumerate(((meshed, "ours"), (neighbour, "theirs"))):
        found = answers(cluster, *urls)
        assert found[:3] == [word] * 3
        assert found[3 + number] == word
        other = pods[1 - number].split("/")[2].split(":")[0]
        mine = cluster.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].status.podIP}").split()
        if other in mine:  # a third pod has that address in this cluster: it may answer, the other's pod may not
            assert found.pop(4 - number) != {"ours": "theirs", "theirs": "ours"}[word]
        assert set(found) <= {word, ""}, found
        said = cluster.kubectl("exec", "twin", "--", "sh", "-c", ASK, "sh", CLUSTER_IP, other).split()
        assert word in said
        assert {"ours": "theirs", "theirs": "ours"}[word] not in said
    for pod in pods:  # nor do the hosts themselves know the way
        assert meshed.on(1, "curl", "-sS", "-m", "1", pod).returncode != 0


@EVERY_BACKEND
def test_a_port_of_the_hosts_belongs_to_the_first_and_the_second_is_told(meshed: Meshed, neighbour: Meshed) -> None:
    for number in (0, 1):
        url = f"http://{meshed.address(number)}:{NODE_PORT}/"
        assert meshed.on(2, "curl", "-sS", "-m", "5", url).stdout.strip() == "ours"

    def told() -> bool:
        events = json.loads(neighbour.kubectl("get", "events", "-o", "json"))["items"]
        return any(item["reason"] == "PortTaken" and item["involvedObject"]["name"] == "twin" for item in events)

    eventually(told, 10, "the event PortTaken")


@OVER_MESH
def test_another_clusters_key_opens_no_tunnel(meshed: Meshed, neighbour: Meshed) -> None:
    target, own = record(meshed)["members"][1], record(neighbour)["members"][0]
    public = to_hex(target["publicKey"])
    found = neighbour.on(0, "pgrep", "-f", f"usernetes-mesh --netns {own['directory']}/", user="root").stdout.split()
    control = Control(f"/proc/{found[0]}/root/run/usernetes/mesh.sock")
    where = f"endpoint={target['address']}:{target['meshPort']}"
    control.set([f"public_key={public}", where, "persistent_keepalive_interval=1"])
    try:
        time.sleep(3)
        (knocking,) = [peer for peer in control.peers() if peer.public_key == target["publicKey"]]
    finally:
        control.set([f"public_key={public}", "remove=true"])
    assert knocking.sent > 0
    assert (knocking.handshake, knocking.received) == (0.0, 0)


@OVER_MESH
def test_no_user_opens_a_socket_of_the_others_nodes(meshed: Meshed, neighbour: Meshed) -> None:
    for here, there in both_ways(meshed, neighbour):
        directory = record(there)["members"][1]["directory"]
        child = there.on(1, "cat", f"{directory}/rk/child_pid", user="root").stdout.strip()
        inside = f"/proc/{child}/root/run"
        paths = [
            f"{directory}/control.sock", f"{directory}/rk/api.sock", f"{inside}/containerd/containerd.sock",
            f"{inside}/usernetes/mesh.sock", f"{inside}/usernetes/native.sock",
        ]  # fmt: skip
        tried = here.on(1, "/usr/bin/python3", "-c", CONNECT, *paths).stdout.splitlines()
        assert tried == [f"{path} Permission denied" for path in paths]
        owner = there.on(1, "/usr/bin/python3", "-c", CONNECT, *paths[:2]).stdout.splitlines()
        assert owner == [f"{path} OPEN" for path in paths[:2]]


@OVER_MESH
def test_an_administrator_is_a_stranger_to_the_other_api(meshed: Meshed, neighbour: Meshed) -> None:
    for here, there in both_ways(meshed, neighbour):
        kubeconfig = here.on(0, "sh", "-c", "echo ~/.local/state/usernetes/*/kubeconfig").stdout.strip()
        argv = [f"{here.bundle}/bin/kubectl", f"--kubeconfig={kubeconfig}", f"--server={record(there)['server']}"]
        trusting = here.on(0, *argv, "get", "nodes")
        assert trusting.returncode != 0
        assert "unknown authority" in trusting.stderr
        blind = here.on(0, *argv, "--insecure-skip-tls-verify", "get", "nodes", "--request-timeout=5s")
        assert blind.returncode != 0
        assert "node/" not in blind.stdout
