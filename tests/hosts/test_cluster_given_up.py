"""A cluster that did without a node, and lost another, grows; a `remove` that was killed is gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.clusters import UP_SECONDS, Account, Cluster, wait_for

pytestmark = pytest.mark.cluster
NAME = "fewer"


def members(account: Account) -> dict[str, dict[str, Any]]:
    """The record's members by name; {} while there is no record."""
    try:
        document = json.loads((account.state / NAME / "cluster.json").read_text())
    except (OSError, ValueError):
        return {}
    return {member["name"]: member for member in document["members"]}


@pytest.fixture
def fewer(account: Account) -> Iterator[Cluster]:
    """Of three nodes the last was killed as soon as it was started; two were enough."""
    words = ["--cluster", NAME, "--nodes", "3", "--min-nodes", "2", "--durability", "memory"]
    up = subprocess.Popen(account.argv("up", *words), stderr=subprocess.PIPE, text=True, cwd="/")
    try:
        handle = wait_for(lambda: members(account).get("node2", {}).get("handle"), "the start of node2", 60)
        os.kill(handle["pid"], signal.SIGKILL)
        _, said = up.communicate(timeout=UP_SECONDS)
        assert up.returncode == 0, said
        assert "2 Ready, 1 given up" in said
        yield Cluster(account, NAME)
    finally:
        up.kill()
        up.wait()
        account.usernetes("down", "--cluster", NAME)


def added(cluster: Cluster) -> str:
    """The name of a further node, which is Ready."""
    began = time.monotonic()
    done = cluster.usernetes("add", "--nodes", "1")
    assert done.returncode == 0, done.stderr
    print(f"add: {time.monotonic() - began:.1f} s")
    name = done.stdout.strip()
    assert next(node for node in cluster.status()["nodes"] if node["name"] == name)["ready"]
    return name


def killed_while_leaving(cluster: Cluster, name: str) -> float:
    """Kill a `remove` as soon as its node is leaving; returns after how many seconds."""
    began = time.monotonic()
    removal = subprocess.Popen(
        cluster.account.argv("remove", name, "--cluster", NAME), stderr=subprocess.DEVNULL, text=True, cwd="/"
    )
    try:
        wait_for(lambda: members(cluster.account)[name]["state"] == "leaving", f"{name} is leaving", 60)
    finally:
        removal.kill()
        removal.wait()
    return time.monotonic() - began


def test_nodes_come_and_go_beside_one_that_was_given_up_and_one_that_is_lost(fewer: Cluster) -> None:
    status = fewer.status()
    assert (status["phase"], list(status["givenUp"])) == ("degraded", ["node2"])
    assert members(fewer.account)["node2"]["state"] == "given-up"

    first = added(fewer)
    assert {name: one["state"] for name, one in members(fewer.account).items()} == {
        "node0": "ready", "node1": "ready", "node2": "given-up", first: "ready",
    }  # fmt: skip

    os.kill(next(node for node in fewer.status()["nodes"] if node["name"] == first)["keeper"], signal.SIGKILL)
    wait_for(lambda: not next(n for n in fewer.status()["nodes"] if n["name"] == first)["alive"], "its end", 30)
    second = added(fewer)
    assert len({"node0", "node1", "node2", first, second}) == 5

    killed = killed_while_leaving(fewer, second)
    assert members(fewer.account)[second]["state"] == "leaving"
    assert f"{second}: it is leaving" in fewer.usernetes("status").stdout
    print(f"remove was killed after {killed:.1f} s")
    done = fewer.usernetes("remove", second)
    assert done.returncode == 0, done.stderr

    done = fewer.usernetes("remove", f"node2,{first}", "--force")
    assert done.returncode == 0, done.stderr
    status = fewer.status()
    assert [node["name"] for node in status["nodes"]] == ["node0", "node1"]
    assert (status["phase"], status["givenUp"], status["healthy"]) == ("running", {}, True)
    ours = members(fewer.account)["node0"]["directory"].rpartition("-")[0]
    done = fewer.usernetes("down")
    assert done.returncode == 0, done.stderr
    assert "2 nodes stopped, nothing left" in done.stderr
    wait_for(lambda: not [w for w in fewer.account.processes().values() if ours in w], "every process ends", 10)
