"""An archive is resumed by one cluster at a time; who is dead has lost it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from usernetes_deploy.cluster.lease import Lease, release_of
from usernetes_deploy.errors import UsageError
from usernetes_deploy.node.procfs import start_time


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    return Lease.of(tmp_path / "demo.usernetes")


def change(lease: Lease, **fields: object) -> None:
    lease.path.write_text(json.dumps({**(lease.holder() or {}), **fields}))


def test_the_second_is_refused_while_the_first_lives_and_told_what_to_do(lease: Lease) -> None:
    lease.take("demo")
    with pytest.raises(UsageError, match=r"in use: cluster demo on .*\n.*usernetes down --cluster demo"):
        lease.take("again")
    lease.release()
    lease.take("again")
    lease.release()
    lease.release()


def test_a_process_that_has_ended_has_lost_it_and_one_with_its_number_has_not_got_it(lease: Lease) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    lease.take("demo")
    change(lease, pid=ended.pid)
    lease.take("next")
    change(lease, startTime=1)  # our number, another process
    lease.take("last")
    assert (lease.holder() or {})["cluster"] == "last"


def test_the_first_nodes_keeper_holds_it_when_the_cluster_is_up(lease: Lease, tmp_path: Path) -> None:
    state, node = tmp_path / "state", tmp_path / "node"
    for folder in (state, node):
        folder.mkdir()
    lease.take("demo")
    lease.hand_over("demo", state, str(node))
    keeper = node / "keeper.json"
    keeper.write_text(json.dumps({"pid": os.getpid(), "startTime": start_time(os.getpid())}))
    with pytest.raises(UsageError, match="in use"):
        lease.take("again")
    keeper.write_text(json.dumps({"pid": os.getpid(), "startTime": 1}))
    lease.take("again")
    lease.hand_over("again", state, str(node))
    keeper.unlink()  # the node is gone
    lease.take("last")
    release_of(state)
    assert not lease.path.exists()


def test_another_host_is_believed_and_a_boot_that_is_over_is_not(lease: Lease) -> None:
    lease.take("demo")
    change(lease, boot="of yesterday")
    lease.take("demo")
    change(lease, host="elsewhere")
    with pytest.raises(UsageError, match=rf"on elsewhere: .*for good: rm {lease.path}"):
        lease.take("again")


def test_a_lease_that_says_nothing_is_nobodys(lease: Lease) -> None:
    for text in ("", "[]", '{"cluster": "demo"}'):
        lease.path.write_text(text)
        lease.take("demo")
        assert (lease.holder() or {})["pid"] == os.getpid()
        lease.release()
