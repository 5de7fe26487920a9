"""A second user of the host reaches nothing of a cluster, and no process shows a secret."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.hosts.clusters import Account, Cluster, wait_for
from tests.hosts.conftest import VirtualHosts

pytestmark = pytest.mark.cluster


def secrets_of(cluster: Cluster) -> list[bytes]:
    """Every key of the cluster that this machine's files tell of, whole and as they look inside other documents."""
    state = cluster.account.state / cluster.name
    text = (state / "secrets.json").read_text() + (state / "kubeconfig").read_text()
    keys = [key.replace("\\n", "\n") for key in re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"]*", text)]
    kubeconfig = json.loads((state / "kubeconfig").read_text())
    keys += [base64.b64decode(user["user"]["client-key-data"]).decode() for user in kubeconfig["users"]]
    bodies = {line for key in keys for line in key.splitlines() if len(line) > 40}
    assert len(bodies) >= 4
    encoded = [user["user"]["client-key-data"] for user in kubeconfig["users"]]
    return [body.encode() for body in [*bodies, *encoded]]


def test_no_command_line_and_no_environment_holds_a_secret(cluster: Cluster) -> None:
    secrets = [*secrets_of(cluster), b"PRIVATE KEY", b"client-key-data", b"privateKey", b"private_key"]
    pids = cluster.account.processes()
    assert len(pids) > 20
    seen = 0
    for pid in pids:
        for name in ("cmdline", "environ"):
            try:
                text = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            seen += 1
            assert not [secret for secret in secrets if secret in text], (pids[pid], name)
    assert seen > 40


def test_no_log_holds_a_secret_and_no_key_is_on_the_nodes_disk(cluster: Cluster) -> None:
    secrets = [*secrets_of(cluster), b"PRIVATE KEY"]
    state = cluster.account.state / cluster.name
    for path in [state / "up.log", state / "cluster.json", *cluster.account.base.glob("*/logs/*")]:
        if path.is_dir():
            continue  # audit: its tests look
        assert not [secret for secret in secrets if secret in path.read_bytes()], path
    looked = 0
    for path in cluster.account.base.rglob("*"):  # kubelet/, containerd/ and etcd/ as well
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                looked += 1
                assert not [secret for secret in secrets if secret in path.read_bytes()], path
    assert looked > 50


def test_etcd_holds_no_secret_in_plain(cluster: Cluster) -> None:
    marks = {"Secret": "mark-of-a-secret-5f1c", "ConfigMap": "mark-of-a-config-5f1c"}
    for kind, mark in marks.items():
        field = "stringData" if kind == "Secret" else "data"
        cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": {"name": "marked"}, field: {"word": mark}})
    stored = b"".join(path.read_bytes() for path in (cluster.node_folder(0) / "etcd").rglob("*") if path.is_file())
    assert marks["ConfigMap"].encode() in stored  # what is looked for would be seen
    assert marks["Secret"].encode() not in stored
    assert base64.b64encode(marks["Secret"].encode()) not in stored
    assert base64.b64decode(cluster.get("secret", "marked")["data"]["word"]).decode() == marks["Secret"]
    cluster.kubectl("delete", "secret/marked", "configmap/marked")


def test_another_user_can_open_no_folder_and_no_socket(cluster: Cluster, stranger: Account) -> None:
    state = cluster.account.state / cluster.name
    folder = cluster.node_folder(0)
    for path in (
        state, state / "kubeconfig", state / "secrets.json", folder, folder / "control.sock",
        folder / "rk" / "api.sock", folder / "logs" / "kubelet.log", folder / "etcd", folder / "keeper.json",
    ):  # fmt: skip
        assert path.exists()
        done = stranger.sh(f"ls {path} 2>&1 || cat {path}")
        assert done.returncode != 0, path
        assert "Permission denied" in done.stdout + done.stderr, (path, done.stdout)
    for pid in cluster.pids("", None):
        done = stranger.sh(
            f"cat /proc/{pid}/environ || ls /proc/{pid}/root/ || nsenter --target {pid} --user --net true"
        )
        assert done.returncode != 0, pid


def listeners(host_wide: bool = True) -> set[tuple[str, int]]:
    """TCP listeners of this machine's own network: (address as in /proc/net/tcp, port)."""
    found = set()
    for table in ("tcp", "tcp6") if host_wide else ("tcp",):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                address, _, port = words[1].rpartition(":")
                found.add((f"{words[7]} {address}", int(port, 16)))
    return found


def test_only_the_api_listens_on_the_hosts_network(cluster: Cluster) -> None:
    uid = str(cluster.account.uid)
    ours = {port for owner, port in listeners() if owner.split()[0] == uid}
    assert ours == {int(cluster.record()["server"].rpartition(":")[2])}


def ask(url: str, context: ssl.SSLContext) -> int:
    try:
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_api_answers_401_without_a_certificate(cluster: Cluster) -> None:
    server = cluster.record()["server"]
    kubeconfig = json.loads((cluster.account.state / cluster.name / "kubeconfig").read_text())
    authority = base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    for path in ("/api/v1/nodes", "/version", "/healthz", "/metrics", "/"):
        assert ask(server + path, context) == 401, path


def test_pods_reach_no_kubelet_and_no_streaming_server_without_a_certificate(cluster: Cluster) -> None:
    image = next(name for name in cluster.status()["nodes"][0]["images"] if "/busybox:" in name)
    # nc, because busybox' own wget crashes in a static build: a crash would look like a refusal.
    ports = {"kubelet": 10250, "etcd": 2379, "proxy": 10249, "manager": 10257}
    script = "".join(
        f"printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc 10.64.0.1 {port} | head -n 1; echo {name};"
        for name, port in ports.items()
    )
    cluster.kubectl(
        "run", "prober", "--restart=Never", f"--image={image}", "--image-pull-policy=Never", "--command",
        "--", "sh", "-c", script,
    )  # fmt: skip
    wait_for(lambda: cluster.get("pod", "prober")["status"]["phase"] == "Succeeded", "the prober is done")
    done = cluster.kubectl("logs", "prober")  # the whole of it; of an attached pod the last words may be lost
    cluster.kubectl("delete", "pod", "prober", "--now")
    said = [line.strip() for line in done.splitlines() if line.strip() in ports or line.startswith("HTTP/")]
    # Only the kubelet is there at all, and it speaks TLS; what it says to one who shows no certificate comes next.
    assert said == ["HTTP/1.0 400 Bad Request", "kubelet", "etcd", "proxy", "manager"], done
    argv = ["curl", "-sk", "-m", "5", "-w", "%{http_code}", "-o", "/dev/null", "https://10.64.0.1:10250/pods"]
    assert cluster.usernetes("run", "--", *argv).stdout == "401"


def test_the_api_is_reached_from_another_host_with_a_valid_certificate(
    cluster: Cluster, virtual_hosts: VirtualHosts, tmp_path: Path
) -> None:
    name = virtual_hosts.names[0]
    kubeconfig = (cluster.account.state / cluster.name / "kubeconfig").read_text()
    assert "insecure" not in kubeconfig
    # The other host's bridge is this machine's: its way to our address is over the gateway.
    gateway = f"{virtual_hosts.subnet.rpartition('.')[0]}.1"
    route = f"ip route replace {cluster.record()['members'][0]['address']} via {gateway}"
    copy = tmp_path / "kubeconfig"
    copy.write_text(kubeconfig)
    copy.chmod(0o600)
    virtual_hosts.on(name, route)
    # Only the other host's network: it has a disk of its own, without our kubectl.
    argv = ["ip", "netns", "exec", name, f"{cluster.account.bundle}/bin/kubectl", f"--kubeconfig={copy}"]
    done = subprocess.run(
        [*argv, "get", "nodes", "-o", "name"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["node/node0", "node/node1"], done.stderr
    assert (cluster.account.state / cluster.name / "kubeconfig").stat().st_mode & 0o777 == 0o600
