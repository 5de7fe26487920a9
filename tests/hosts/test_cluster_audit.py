"""The audit trail of a real cluster: who did what, by grant, by verb, by time; nothing secret in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clusters import Cluster, wait_for

pytestmark = pytest.mark.cluster
SPACE = "audited"


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Iterator[Path]:
    """The kubeconfig of a grant that made a Secret and deleted it, and asked for what it may not have."""
    done = cluster.usernetes("grant", "clerk", "--role", "edit", "--namespace", SPACE)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    for words in (
        ["create", "secret", "generic", "mine", "--from-literal=password=not-for-the-log"],
        ["delete", "secret", "mine"],
        ["get", "nodes"],
    ):
        argv = [str(cluster.account.bundle / "bin" / "kubectl"), f"--kubeconfig={path}", *words]
        subprocess.run(cluster.account.become(argv), capture_output=True, timeout=60, cwd="/", check=False)
    wait_for(lambda: len(trail(cluster, "--grant", "clerk")) >= 3, "the trail of the grant")
    yield path
    cluster.usernetes("revoke", "clerk")
    cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found")


def trail(cluster: Cluster, *words: str) -> list[dict[str, Any]]:
    """What `usernetes audit --json` says."""
    done = cluster.usernetes("audit", "--json", *words)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_what_a_grant_did_is_told_with_its_outcome(cluster: Cluster, key: Path) -> None:
    found = [(one["verb"], one["resource"], one["name"], one["code"]) for one in trail(cluster, "--grant", "clerk")]
    assert found == [
        ("create", "secrets", "mine", 201),
        ("delete", "secrets", "mine", 200),
        ("get", "secrets", "mine", 404),  # kubectl looks whether it is gone
        ("list", "nodes", "", 403),
    ]
    text = cluster.usernetes("audit", "--grant", "clerk", "--verb", "delete").stdout.splitlines()
    assert len(text) == 2
    assert text[1].split()[2:] == ["grant", "clerk", "delete", "secrets", "mine", SPACE, "200"]


def test_the_administrators_own_doings_are_there_and_the_components_rest_is_not(cluster: Cluster, key: Path) -> None:
    found = trail(cluster, "--since", "1h")
    made = [one for one in found if one["resource"] == "serviceaccounts/token" and one["name"] == "clerk"]
    assert [one["user"] for one in made] == ["usernetes-admin"]
    assert not [one for one in found if one["resource"] == "leases"]
    assert not [one for one in found if one["user"].startswith("system:node:") and one["verb"] in ("get", "watch")]


def test_the_last_use_of_a_grant_is_listed(cluster: Cluster, key: Path) -> None:
    one = next(item for item in json.loads(cluster.usernetes("grants", "--json").stdout) if item["name"] == "clerk")
    assert one["lastUse"] == trail(cluster, "--grant", "clerk")[-1]["time"].replace("Z", "+00:00")
    assert cluster.usernetes("grants").stdout.splitlines()[1].endswith(" ago")


def test_no_secret_and_no_token_is_in_the_log_and_nobody_else_reads_it(cluster: Cluster, key: Path) -> None:
    log = cluster.node_folder(0) / "logs" / "audit" / "audit.log"
    text = log.read_text()
    token = json.loads(key.read_text())["users"][0]["user"]["token"]
    assert '"name":"mine"' in text
    assert "not-for-the-log" not in text
    assert token not in text and token.split(".")[2] not in text
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--since", "yesterday"], "--since: expected a time as 30m, 8h or 2d, got 'yesterday'"),
        (["--lines", "0"], "--lines: expected a number > 0, got 0"),
        (["--lines", "many"], "--lines"),
    ],
)
def test_what_cannot_be_is_said(cluster: Cluster, words: list[str], says: str) -> None:
    done = cluster.usernetes("audit", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert cluster.usernetes("audit", "--grant", "nobody").stderr.strip() == "nothing that was asked for"
