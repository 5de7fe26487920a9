"""Grants on a real cluster: what they allow, what they do not, who can read them, and that they end."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.clusters import Account, Cluster
from tests.users import group_of

pytestmark = pytest.mark.cluster
SPACE = "granted"  # made for a grant of these tests
FORBIDDEN, UNAUTHORIZED = "orbidden", "Unauthorized"


@pytest.fixture(autouse=True)
def _cleaned(cluster: Cluster) -> Iterator[None]:
    yield
    for one in json.loads(cluster.usernetes("grants", "--json").stdout):
        cluster.usernetes("revoke", one["name"])
    cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found")


def grant(cluster: Cluster, *words: str) -> Path:
    """The kubeconfig of a new grant."""
    done = cluster.usernetes("grant", *words)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def asked(account: Account, kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The bundle's kubectl as `account`, with nothing but this kubeconfig."""
    argv = [str(account.bundle / "bin" / "kubectl"), f"--kubeconfig={kubeconfig}", *words]
    return subprocess.run(account.become(argv), capture_output=True, text=True, timeout=60, cwd="/", check=False)


def test_to_look_is_all_that_a_plain_grant_allows(cluster: Cluster) -> None:
    key = grant(cluster, "reader")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert asked(cluster.account, key, "get", "pods").returncode == 0
    for words in (
        ["get", "secrets"],
        ["get", "pods", "--namespace=kube-system"],
        ["get", "nodes"],
        ["create", "configmap", "a"],
        ["create", "token", "reader", "--namespace=usernetes-grants"],
    ):
        done = asked(cluster.account, key, *words)
        assert FORBIDDEN in done.stderr, (words, done)


def test_a_namespace_made_for_a_grant_is_restricted_and_within_its_quota(cluster: Cluster) -> None:
    key = grant(cluster, "agent", "--role", "edit", "--namespace", SPACE, "--quota", "cpu=2,pods=1")
    assert asked(cluster.account, key, "create", "configmap", "a").returncode == 0
    host = '{"spec": {"hostNetwork": true}}'
    done = asked(cluster.account, key, "run", "bad", "--image=busybox", f"--overrides={host}")
    assert "violates PodSecurity" in done.stderr
    quota = cluster.get("resourcequota", "--namespace", SPACE)["items"]
    assert [item["spec"]["hard"] for item in quota] == [{"cpu": "2", "pods": "1"}, {"pods": "0"}]
    assert FORBIDDEN in asked(cluster.account, key, "delete", "resourcequota", "--all").stderr


def test_verbs_and_rules_of_ones_own_are_all_that_there_is(cluster: Cluster) -> None:
    key = grant(cluster, "watcher", "--namespace", "*", "--verbs", "list")
    assert asked(cluster.account, key, "get", "pods", "--all-namespaces").returncode == 0
    assert FORBIDDEN in asked(cluster.account, key, "get", "pod", "nobody").stderr
    rules = cluster.account.home / "rules.yaml"
    rules.write_text("- {apiGroups: [''], resources: [configmaps], verbs: [get, list]}\n")
    rules.chmod(0o644)
    own = grant(cluster, "own", "--role", str(rules))
    assert asked(cluster.account, own, "get", "configmaps").returncode == 0
    assert FORBIDDEN in asked(cluster.account, own, "get", "pods").stderr


def test_another_user_cannot_read_a_grant_and_can_use_one_that_is_handed_over(
    cluster: Cluster, stranger: Account
) -> None:
    key = grant(cluster, "guest")
    assert "ermission denied" in asked(stranger, key, "get", "pods").stderr
    copy = stranger.home / "guest"
    shutil.copy(key, copy)
    shutil.chown(copy, stranger.uid, group_of(stranger.uid))
    copy.chmod(0o600)
    assert asked(stranger, copy, "get", "pods").returncode == 0
    assert FORBIDDEN in asked(stranger, copy, "get", "secrets").stderr


def test_what_was_revoked_is_refused_at_once_and_its_token_soon(cluster: Cluster) -> None:
    key = grant(cluster, "gone", "--role", "admin", "--namespace", SPACE)
    copy = key.with_name("copy")
    shutil.copy2(key, copy)
    shutil.chown(copy, cluster.account.uid, group_of(cluster.account.uid))
    assert asked(cluster.account, copy, "create", "serviceaccount", "left").returncode == 0
    done = cluster.usernetes("revoke", "gone")
    assert done.returncode == 0
    assert "serviceaccount left" in done.stderr
    assert not key.exists()
    assert FORBIDDEN in asked(cluster.account, copy, "get", "pods").stderr
    ends = time.monotonic() + 30  # the API keeps a token that it has seen in mind for 10 seconds
    while UNAUTHORIZED not in (said := asked(cluster.account, copy, "get", "pods").stderr):
        assert FORBIDDEN in said
        assert time.monotonic() < ends
    copy.unlink()


def test_the_list_says_who_may_do_what_and_tells_no_token(cluster: Cluster) -> None:
    key = grant(cluster, "listed", "--for", "30m")
    token = json.loads(key.read_text())["users"][0]["user"]["token"]
    found = cluster.usernetes("grants", "--json")
    one = next(item for item in json.loads(found.stdout) if item["name"] == "listed")
    assert {key: one[key] for key in ("role", "namespace", "over")} == {
        "role": "view",
        "namespace": "default",
        "over": False,
    }
    text = cluster.usernetes("grants")
    assert "listed" in text.stdout
    assert "29m" in text.stdout
    for path in [*(cluster.account.state / cluster.name).rglob("*")]:
        if path.is_file() and path != key:
            assert token.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["taken"], "a grant named taken is valid until"),
        (["open", "--role", "edit"], "whoever may start or enter them could read your files"),
        (["all", "--role", "edit", "--namespace", "*"], "pods of some namespaces may be privileged"),
        (["nothing", "--verbs", "create"], "so the grant would allow nothing"),
        (["long", "--for", "48h"], "expected 10m to 24h"),
        (["wrong", "--namespace", SPACE, "--role", "admin", "--quota", "nonsense/=1"], "nonsense"),
    ],
)
def test_what_is_refused_changes_nothing(cluster: Cluster, words: list[str], said: str) -> None:
    grant(cluster, "taken")
    before = cluster.usernetes("grants").stdout, cluster.kubectl("get", "namespaces,rolebindings", "-A", "-o", "name")
    done = cluster.usernetes("grant", *words)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stdout == ""
    deadline = time.monotonic() + 30  # a namespace needs its time to go
    while before != (
        cluster.usernetes("grants").stdout,
        cluster.kubectl("get", "namespaces,rolebindings", "-A", "-o", "name"),
    ):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_revoking_what_is_not_there_says_what_is(cluster: Cluster) -> None:
    done = cluster.usernetes("revoke", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usernetes: there is no grant named nobody\n  fix: usernetes grants\n"


def pods(cluster: Cluster, name: str, priority: str, count: int, cpu: str) -> None:
    """Pods that sleep, of a class, each with a request."""
    image = next(image for image in cluster.status()["nodes"][0]["images"] if "/busybox:" in image)
    container = {"name": "main", "image": image, "command": ["sleep", "600"], "resources": {"requests": {"cpu": cpu}}}
    spec = {"priorityClassName": priority, "terminationGracePeriodSeconds": 0, "containers": [container]}
    for number in range(count):
        metadata = {"name": f"{name}-{number}", "namespace": SPACE, "labels": {"app": name}}
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_urgent_pods_take_the_place_of_scavengers_and_a_grant_cannot_have_them(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", SPACE)
    cpus = int(cluster.get("node", "node0")["status"]["allocatable"]["cpu"])
    pods(cluster, "scavenger", "scavenger", 4 * cpus, "490m")  # two nodes: more do not fit
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--selector=app=scavenger", "--namespace", SPACE)
    pods(cluster, "urgent", "urgent", 1, "490m")
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--selector=app=urgent", "--namespace", SPACE)
    left = cluster.get("pods", "--selector=app=scavenger", "--namespace", SPACE)["items"]
    assert len(left) == 4 * cpus - 1
    cluster.kubectl("delete", "namespace", SPACE)
    key = grant(cluster, "pushy", "--role", "edit", "--namespace", SPACE, "--pod-security", "baseline")
    assert asked(cluster.account, key, "run", "usual", "--image=busybox").returncode == 0
    done = asked(
        cluster.account, key, "run", "first", "--image=busybox", '--overrides={"spec":{"priorityClassName":"urgent"}}'
    )
    assert "exceeded quota" in done.stderr
