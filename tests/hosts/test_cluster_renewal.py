"""Certificates are renewed under a running cluster: other serial numbers, the same pods, the new kubeconfig works."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from tests.hosts.clusters import Account, Cluster, bring_up, wait_for
from usernetes_deploy.node.config import KUBELET_CERTIFICATE

pytestmark = pytest.mark.cluster


def served(cluster: Cluster) -> int:
    """The serial number of the certificate that the API shows; 0 while it does not answer."""
    server = urlsplit(cluster.record()["server"])
    try:
        pem = ssl.get_server_certificate((str(server.hostname), int(server.port or 0)), timeout=5)
    except OSError:
        return 0
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def administrators(path: Path) -> int:
    """The serial number of a kubeconfig's own certificate."""
    user = json.loads(path.read_text())["users"][0]["user"]
    pem = base64.b64decode(user["client-certificate-data"])
    return x509.load_pem_x509_certificate(pem).serial_number


def kubelets(cluster: Cluster, number: int) -> str:
    """The certificate of a node's kubelet, as it lies in the node."""
    child = (cluster.node_folder(number) / "rk" / "child_pid").read_text().strip()
    pem = Path(f"/proc/{child}/root{KUBELET_CERTIFICATE}").read_text()
    assert x509.load_pem_x509_certificate(pem.encode()).serial_number
    return pem


def test_all_certificates_are_new_and_pods_run_on(account: Account) -> None:
    cluster = bring_up(account, "renewed", "--nodes", "2")
    try:
        image = next(name for name in cluster.status()["nodes"][0]["images"] if "/busybox:" in name)
        main = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [main]}})
        cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        before = cluster.get("pod", "web")["status"]["containerStatuses"][0]["containerID"]
        kubeconfig = account.state / "renewed" / "kubeconfig"
        first = kubelets(cluster, 1)
        api, admin = served(cluster), administrators(kubeconfig)
        assert api and admin
        done = account.usernetes("renew", "--cluster", "renewed")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["node0", "node1"]
        wait_for(lambda: served(cluster) not in (0, api), "the API shows its new certificate")
        assert administrators(kubeconfig) != admin
        wait_for(lambda: cluster.status()["healthy"], "the cluster is well")
        assert cluster.status()["certificates"]["daysLeft"] in (364, 365)
        assert cluster.kubectl("exec", "web", "--", "echo", "here") == "here\n"  # the kubelet's own, too
        status = cluster.get("pod", "web")["status"]["containerStatuses"][0]
        assert (status["containerID"], status["restartCount"]) == (before, 0)
        renewed = kubelets(cluster, 1)
        assert renewed != first
        assert all(node["certificates"]["daysLeft"] in (364, 365) for node in cluster.status()["nodes"])

        os.kill(int((cluster.node_folder(1) / "rk" / "child_pid").read_text()), signal.SIGKILL)
        wait_for(lambda: cluster.status()["nodes"][1]["restarts"] == 1, "the keeper starts the node again")
        wait_for(lambda: cluster.status()["healthy"], "the cluster is well again")
        assert kubelets(cluster, 1) == renewed
    finally:
        account.usernetes("down", "--cluster", "renewed")


def asked(account: Account, kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The bundle's kubectl as `account`, with nothing but this kubeconfig."""
    argv = [str(account.bundle / "bin" / "kubectl"), f"--kubeconfig={kubeconfig}", "--request-timeout=10s", *words]
    return subprocess.run(account.become(argv), capture_output=True, text=True, timeout=60, cwd="/", check=False)


def rules(cluster: Cluster, number: int) -> str:
    """The nftables of a node's pods."""
    folder = cluster.node_folder(number)
    child = (folder / "rk" / "child_pid").read_text().strip()
    argv = ["nsenter", f"--net=/proc/{child}/root{folder}/rk/netns", "nft", "list", "ruleset"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def test_after_a_leak_nothing_that_was_issued_before_is_taken_and_pods_run_on(account: Account) -> None:
    cluster = bring_up(account, "leaked", "--nodes", "2", "--set", "metrics=true")
    try:
        image = next(name for name in cluster.status()["nodes"][0]["images"] if "/busybox:" in name)
        main = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}
        pod = {"containers": [main], "nodeName": "node1", "terminationGracePeriodSeconds": 0}
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": pod})
        cluster.kubectl("create", "secret", "generic", "kept", "--from-literal=word=still-here")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        before = cluster.get("pod", "web")["status"]["containerStatuses"][0]["containerID"]
        token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
        first = cluster.kubectl("exec", "web", "--", "cat", token)
        kubeconfig = account.state / "leaked" / "kubeconfig"
        old = account.home / "leaked-admin"
        grant = account.home / "leaked-grant"
        old.write_bytes(kubeconfig.read_bytes())
        made = account.usernetes("grant", "--cluster", "leaked", "agent")
        assert made.returncode == 0, made.stderr
        grant.write_bytes(Path(made.stdout.strip()).read_bytes())
        for path in (old, grant):
            path.chmod(0o644)
            assert asked(account, path, "get", "pods").returncode == 0

        # Half of its time is over: the next verb makes a new one, and the old one is good until its end.
        serial, week = administrators(kubeconfig), time.time() - 4 * 86400
        assert cluster.kubectl("get", "nodes") and administrators(kubeconfig) == serial
        os.utime(kubeconfig, (week, week))
        assert cluster.kubectl("get", "nodes")
        assert administrators(kubeconfig) != serial
        assert asked(account, old, "get", "pods").returncode == 0

        done = account.usernetes("renew", "--cluster", "leaked", "--revoke-all", timeout=120)
        assert done.returncode == 0, done.stderr
        for path in (old, grant):
            trusting = asked(account, path, "--insecure-skip-tls-verify", "get", "pods")
            assert "Unauthorized" in trusting.stderr or "must be logged in" in trusting.stderr, trusting
            assert "certificate signed by unknown authority" in asked(account, path, "get", "pods").stderr
        assert json.loads(account.usernetes("grants", "--cluster", "leaked", "--json").stdout) == []
        wait_for(lambda: cluster.status()["healthy"], "the cluster is well")
        status = cluster.get("pod", "web")["status"]["containerStatuses"][0]
        assert (status["containerID"], status["restartCount"]) == (before, 0)
        word = cluster.get("secret", "kept")["data"]["word"]
        assert base64.b64decode(word) == b"still-here"
        wait_for(lambda: cluster.kubectl("exec", "web", "--", "cat", token) != first, "the pod has a new token", 150)
        wait_for(lambda: "node1" in cluster.usernetes("kubectl", "top", "nodes").stdout, "metrics", 90)
        # Who watches the API for the node does so with its new certificate.
        wall = {"podSelector": {}, "policyTypes": ["Ingress"]}
        policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "wall"}}
        cluster.apply({**policy, "spec": wall})
        wait_for(lambda: "chain in_0" in rules(cluster, 1), "node1 enforces a policy", 90)
        account_of = account.usernetes("grant", "--cluster", "leaked", "agent")  # and others can be given again
        assert asked(account, Path(account_of.stdout.strip()), "get", "pods").returncode == 0
    finally:
        account.usernetes("down", "--cluster", "leaked")
