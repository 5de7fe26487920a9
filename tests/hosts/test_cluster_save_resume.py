"""A cluster is saved, taken down, and goes on elsewhere: with fewer nodes, with more, after its host went down."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clusters import BUSYBOX, Account, Cluster, bring_up, wait_for
from tests.users import group_of

pytestmark = pytest.mark.cluster
BEFORE, LATER, LAST = "before", "later", "last"


@dataclass(frozen=True)
class Kept:
    """What was there when the cluster was saved."""

    archive: Path
    identity: dict[str, Any]
    token: str
    kubeconfig: str
    server: str


@pytest.fixture(scope="module")
def folder(account: Account) -> Path:
    made = account.home / "saved"
    made.mkdir(mode=0o700)
    os.chown(made, account.uid, group_of(account.uid))
    return made


@pytest.fixture(scope="module")
def kept(account: Account, folder: Path) -> Iterator[Kept]:
    """A cluster of two nodes with a workload, saved and taken down; in the end nothing of its followers is left."""
    made = bring_up(account, BEFORE, "--nodes", "2")
    try:
        made.apply(*definitions())
        wait_for(lambda: made.usernetes("kubectl", "get", "things").returncode == 0, "the new kind is known")
        made.apply(*workload(made))
        wait_for(lambda: log_of(made) == ["started on node1"], "the pod has written to its volume")
        wait_for(lambda: made.get("job", "done")["status"].get("succeeded") == 1, "the job is done")
        made.kubectl("exec", "deployment/web", "--", "chown", "1000:1000", "/data/log")
        found = identity(made)
        token = made.kubectl("create", "token", "robot", "--duration=2h").strip()
        done = made.usernetes("save", "--to", str(folder))
        assert done.returncode == 0, done.stderr
        kubeconfig, server = (account.state / BEFORE / "kubeconfig").read_text(), made.record()["server"]
        assert made.status()["healthy"]  # it was not held up
        assert not (made.node_folder() / "save").exists()
    finally:
        assert account.usernetes("down", "--cluster", BEFORE).returncode == 0
    yield Kept(Path(done.stdout.strip()), found, token, kubeconfig, server)
    for name in (BEFORE, LATER, LAST):
        assert account.usernetes("down", "--cluster", name).returncode == 0


def definitions() -> list[dict[str, Any]]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [version],
    }
    kind, name = "CustomResourceDefinition", {"name": "things.example.org"}
    return [{"apiVersion": "apiextensions.k8s.io/v1", "kind": kind, "metadata": name, "spec": spec}]


def workload(cluster: Cluster) -> list[dict[str, Any]]:
    """A Deployment with a volume on the worker, a pod that nobody would make again, a job that is done, and more."""
    image = next(name for name in cluster.status()["nodes"][0]["images"] if name.startswith(BUSYBOX))

    def container(script: str) -> dict[str, Any]:
        name = [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
        return {"name": "c", "image": image, "command": ["sh", "-c", script], "env": name}

    def named(version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}

    writer = container('echo "started on $NODE" >> /data/log; exec sleep 100000')
    writer["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    affinity = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {
                        "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]
                    },
                }
            ]
        }
    }
    pod = {
        "affinity": affinity,
        "terminationGracePeriodSeconds": 0,
        "containers": [writer],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    labels = {"app": "web"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    once = {"restartPolicy": "Never", "containers": [container("echo once")]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        named("v1", "PersistentVolumeClaim", "data", spec=claim),
        named("v1", "Secret", "kept", stringData={"word": "hush"}),
        named("v1", "ServiceAccount", "robot"),
        named("example.org/v1", "Thing", "one", answer=42),
        named("v1", "Service", "web", spec={"selector": labels, "ports": [{"port": 80}]}),
        named("apps/v1", "Deployment", "web", spec={"selector": {"matchLabels": labels}, "template": template}),
        named("v1", "Pod", "alone", spec={"containers": [container("exec sleep 100000")]}),
        named("batch/v1", "Job", "done", spec={"template": {"spec": once}}),
    ]


def log_of(cluster: Cluster) -> list[str]:
    """Where the pod with the volume has started so far, as the volume says."""
    return cluster.usernetes("kubectl", "exec", "deployment/web", "--", "cat", "/data/log").stdout.splitlines()


def identity(cluster: Cluster) -> dict[str, Any]:
    """What is the same before and after."""
    kinds = ["pvc", "secret", "serviceaccount", "service", "deployment", "pod/alone", "job", "thing"]
    uids = {}
    for kind in kinds:
        found = cluster.get(*kind.split("/"))
        for item in found.get("items", [found]):
            uids[f"{item['kind']}/{item['metadata']['name']}"] = item["metadata"]["uid"]
    return {
        "uids": uids,
        "namespace": cluster.get("namespace", "kube-system")["metadata"]["uid"],
        "service": cluster.get("service", "web")["spec"]["clusterIP"],
        "secret": cluster.get("secret", "kept")["data"],
        "volume": cluster.get("pvc", "data")["spec"]["volumeName"],
        "thing": cluster.get("thing", "one")["answer"],
        "job": cluster.get("job", "done")["status"]["succeeded"],
    }


def who(cluster: Cluster, token: str) -> str:
    """Whose token the API takes this for, "" for nobody's."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)))
    return str(answer["status"].get("user", {}).get("username", ""))


def resume(account: Account, kept: Kept, name: str, nodes: int) -> Cluster:
    done = account.usernetes("up", "--resume", str(kept.archive.parent), "--cluster", name, "--nodes", str(nodes))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(account.state / name / "kubeconfig")
    return Cluster(account, name)


def test_an_archive_is_one_private_file_and_what_it_lacks_is_refused(account: Account, kept: Kept) -> None:
    assert kept.archive == account.home / "saved" / f"{BEFORE}.usernetes"
    assert stat.S_IMODE(kept.archive.stat().st_mode) == 0o600
    assert kept.archive.stat().st_uid == account.uid
    content = kept.archive.read_bytes()
    assert b"hush" not in content
    assert b"PRIVATE KEY" not in content
    key = account.home / ".config" / "usernetes" / "save.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[: len(content) // 2], "is only a part of an archive"),
        (lambda content: content[:-1000] + bytes(1000), "is damaged"),
        (lambda _: b"PK\x03\x04 something else", "is no archive of `usernetes save`"),
        (lambda content: content.replace(b'"schema": 1', b'"schema": 9', 1), "written by a newer version"),
    ],
    ids=["half", "damaged", "foreign", "newer"],
)
def test_a_bad_archive_is_refused_with_its_reason_and_nothing_is_changed(
    account: Account, kept: Kept, spoil: Any, words: str
) -> None:
    bad = account.home / "bad.usernetes"
    bad.write_bytes(spoil(kept.archive.read_bytes()))
    bad.chmod(0o644)
    done = account.usernetes("up", "--resume", str(bad))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert [path for path in account.leftovers()["files"] if "/program" not in path] == []
    assert account.leftovers()["states"] == []


def test_another_key_and_another_network_are_refused(account: Account, kept: Kept) -> None:
    other = account.home / "other.key"
    other.write_text("another passphrase")
    other.chmod(0o600)
    os.chown(other, account.uid, group_of(account.uid))
    done = account.usernetes("up", "--resume", str(kept.archive), "--key", str(other))
    assert (done.returncode, "was sealed with another key" in done.stderr) == (2, True)
    done = account.usernetes("up", "--resume", str(kept.archive), "--set", "network.serviceCIDR=10.97.0.0/16")
    assert (done.returncode, "keeps network.serviceCIDR 10.96.0.0/16" in done.stderr) == (2, True), done.stderr


def test_a_saved_cluster_goes_on_with_one_node(account: Account, kept: Kept) -> None:
    cluster = resume(account, kept, LATER, 1)
    assert identity(cluster) == kept.identity
    assert who(cluster, kept.token) == "system:serviceaccount:default:robot"
    assert [item["metadata"]["name"] for item in cluster.get("nodes")["items"]] == ["node0"]
    wait_for(lambda: log_of(cluster) == ["started on node1", "started on node0"], "the pod has its volume again")
    owner = cluster.kubectl("exec", "deployment/web", "--", "stat", "-c", "%u:%g", "/data/log").strip()
    assert owner == "1000:1000"
    wait_for(lambda: cluster.get("pod", "alone")["status"]["phase"] == "Running", "the pod without owner runs")
    pods = cluster.get("pods")["items"]
    assert {pod["spec"].get("nodeName") for pod in pods if pod["status"]["phase"] == "Running"} == {"node0"}
    assert cluster.record()["server"].rpartition(":")[2] == kept.server.rpartition(":")[2]
    file = account.home / "old-kubeconfig"
    file.write_text(kept.kubeconfig)
    file.chmod(0o644)
    words = [str(account.bundle / "bin" / "kubectl"), f"--kubeconfig={file}", "get", "secret", "kept"]
    assert account.sh(" ".join(words)).returncode == 0  # kubeconfigs of before are valid
    cluster.kubectl("create", "configmap", "of-later")
    assert not (cluster.node_folder() / "resume" / "objects.jsonl.gz").exists()


def test_a_second_resume_is_refused_while_the_first_lives_and_not_when_it_is_dead(account: Account, kept: Kept) -> None:
    first = Cluster(account, LATER)
    done = account.usernetes("up", "--resume", str(kept.archive), "--cluster", LAST)
    assert done.returncode == 2
    assert f"the archive is in use: cluster {LATER} on " in done.stderr
    assert f"usernetes down --cluster {LATER}" in done.stderr
    assert not (account.state / LAST).exists()
    for node in first.status()["nodes"]:
        os.kill(node["keeper"], signal.SIGKILL)
    wait_for(lambda: not account.processes(), "all processes are gone")

    last = resume(account, kept, LAST, 3)
    assert identity(last) == kept.identity
    assert last.status()["healthy"]
    wait_for(lambda: log_of(last) == ["started on node1", "started on node1"], "the volume is on the node of its name")
    missing = last.usernetes("kubectl", "get", "configmap", "of-later")
    assert missing.returncode != 0  # it came after the save


def test_what_is_saved_is_the_users_choice(account: Account, kept: Kept, folder: Path) -> None:
    last = Cluster(account, LAST)
    target = folder / f"{LAST}.usernetes"
    done = last.usernetes("save", "--to", str(folder), "--volumes", "default/date")
    assert done.returncode == 2
    assert "there is no volume default/date on a node; there are default/data" in done.stderr
    assert not target.exists()
    done = last.usernetes("save", "--to", str(folder / "nowhere"))
    assert (done.returncode, "there is no such folder" in done.stderr) == (2, True)
    key = account.home / "my.key"
    key.write_text("a passphrase of mine")
    key.chmod(0o600)
    os.chown(key, account.uid, group_of(account.uid))
    done = last.usernetes("save", "--to", str(folder), "--volumes", "none", "--key", str(key))
    assert done.returncode == 0, done.stderr
    assert "without the data of default/data: they come back empty" in done.stderr
    assert last.usernetes("down").returncode == 0
    assert not list(folder.glob(".*.lease"))

    done = account.usernetes("up", "--resume", str(target), "--key", str(key), "--nodes", "2")
    assert done.returncode == 0, done.stderr
    assert "saved without their data, empty now: default/data" in done.stderr
    wait_for(lambda: log_of(last) == ["started on node1"], "the volume is empty")
    assert identity(last) == kept.identity


def test_a_resume_that_fails_leaves_nothing_and_no_lease(account: Account, kept: Kept, folder: Path) -> None:
    assert account.usernetes("down", "--cluster", LAST).returncode == 0
    assert account.usernetes("down", "--cluster", LATER).returncode == 0
    words = ["--set", "extraArgs.kubelet.no-such-flag=1", "--cluster", LAST]
    done = account.usernetes("up", "--resume", str(kept.archive), *words)
    assert done.returncode == 1
    assert "kubelet ended" in done.stderr
    assert account.processes() == {}
    assert not list(folder.glob(".*.lease"))
    assert not (account.state / LAST).exists()
    shutil.rmtree(account.state / f"{LAST}.failed", ignore_errors=True)
