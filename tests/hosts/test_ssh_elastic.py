"""Over SSH: a cluster rests on its hosts and comes back, and what was saved goes on on other hosts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest

from tests.hosts.sshd import UID, SshHost, call
from tests.hosts.test_ssh_cluster import Terminal, hosts, terminal  # noqa: F401  fixtures
from tests.users import group_of

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(os.geteuid() != 0, reason="test hosts need root")]
NAME = "resting"
SIZE = 40  # MB in the volume: fetched in several pieces


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def apply(terminal: Terminal, image: str) -> None:  # noqa: F811
    """A Deployment with a volume, which holds random data and its digest."""
    script = (
        f"cd /data; [ -f sum ] || {{ dd if=/dev/urandom of=big bs=1M count={SIZE}; sha256sum big > sum; }}; "
        "sha256sum -c sum && touch /tmp/good; exec sleep 100000"
    )
    container = {
        "name": "c",
        "image": image,
        "command": ["sh", "-c", script],
        "readinessProbe": {"exec": {"command": ["test", "-f", "/tmp/good"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "d", "mountPath": "/data"}],
    }
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}
    labels = {"app": "web"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    items = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        },
    ]
    file = terminal.home / "objects.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    file.chmod(0o644)
    done = terminal.usernetes("kubectl", "apply", "-f", str(file))
    assert done.returncode == 0, done.stderr


def text_of(terminal: Terminal, *words: str) -> str:  # noqa: F811
    return terminal.usernetes("kubectl", "get", *words).stdout.strip()


def is_there(terminal: Terminal) -> bool:  # noqa: F811
    """Whether the pod has found what its volume should hold."""
    return text_of(terminal, "deployment/web", "-o=jsonpath={.status.readyReplicas}") == "1"


def test_a_cluster_rests_and_goes_on_on_other_hosts(terminal: Terminal, hosts: list[SshHost]) -> None:  # noqa: F811
    done = terminal.up("--cluster", NAME, "--hosts", "sh[0-1]", "--accept-new")
    assert done.returncode == 0, done.stderr
    status = json.loads(terminal.usernetes("status", "--json").stdout)
    image = next(name for name in status["nodes"][0]["images"] if name.startswith("localhost/usernetes/busybox"))
    apply(terminal, image)
    wait_for(lambda: is_there(terminal), "the volume is filled")
    kubeconfig = (terminal.home / ".local/state/usernetes" / NAME / "kubeconfig").read_bytes()
    claim = text_of(terminal, "pvc/data", "-o=jsonpath={.metadata.uid}")

    done = terminal.usernetes("stop")
    assert (done.returncode, done.stdout.split()) == (0, ["sh0", "sh1"]), done.stderr
    for host in hosts:
        pids = call("ip", "netns", "pids", host.name).split()
        assert not [pid for pid in pids if "rootlesskit" in call("cat", f"/proc/{pid}/comm")]
    done = terminal.usernetes("start")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: is_there(terminal), "the volume is there again")
    assert (terminal.home / ".local/state/usernetes" / NAME / "kubeconfig").read_bytes() == kubeconfig

    folder = terminal.home / "saved"
    folder.mkdir(mode=0o700)
    os.chown(folder, UID, group_of(UID))
    done = terminal.usernetes("save", "--to", str(folder))
    assert done.returncode == 0, done.stderr
    assert (folder / f"{NAME}.usernetes").stat().st_size > SIZE << 20
    assert terminal.usernetes("down").returncode == 0

    done = terminal.usernetes(
        "up",
        "--resume",
        str(folder),
        "--hosts",
        "sh2",
        "--accept-new",
        "--nodes",
        "1",
        "--bundle",
        str(terminal.bundle),
    )
    assert done.returncode == 0, done.stderr
    assert text_of(terminal, "nodes", "-o=jsonpath={.items[*].metadata.name}") == "sh2"
    assert text_of(terminal, "pvc/data", "-o=jsonpath={.metadata.uid}") == claim
    wait_for(lambda: is_there(terminal), "the volume came to the other host, whole")
    assert terminal.usernetes("down").returncode == 0
