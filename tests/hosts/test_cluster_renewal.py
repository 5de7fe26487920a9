"""Certificates are renewed under a running cluster: other serial numbers, the same pods, the new kubeconfig works."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
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
