"""A cluster over SSH grows by further hosts: a name that is taken is refused, a host that comes back is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.cluster.launchers import KINDS, kind, launcher_from_state
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.base import Wish
from usernetes_deploy.launch.hostlist import load
from usernetes_deploy.launch.local import LocalLauncher
from usernetes_deploy.launch.ssh.launcher import SshLauncher

PROGRAM = Path("node.pyz")


def over_ssh(hosts: str) -> dict[str, Any]:
    return dict(SshLauncher(load(hosts), PROGRAM).to_state())


def test_a_host_with_the_name_of_a_node_is_refused_with_what_to_do() -> None:
    launcher = launcher_from_state(over_ssh("n1.a.example"), PROGRAM)
    with pytest.raises(UsageError, match=r"already names of nodes: n1 \(n1.b.example\)\n  fix: .*`name` of its own"):
        launcher.grow(Wish(hosts=["n1.b.example,n2.b.example"]), ["n1"])


def test_a_host_that_was_given_up_may_come_again() -> None:
    launcher = launcher_from_state(over_ssh("n1,n2"), PROGRAM)
    further = launcher.grow(Wish(hosts=["n[2-3]"]), ["n1"])
    assert [host.name for host in further] == ["n2", "n3"]
    assert [host.name for host in launcher.hosts()] == ["n1", "n2", "n3"]


def test_nodes_of_this_host_fill_the_gaps_first() -> None:
    launcher = LocalLauncher(3, PROGRAM)
    assert [host.name for host in launcher.grow(Wish(nodes=2), ["node0", "node2"])] == ["node1", "node3"]
    assert launcher.to_state() == {"launcher": "local", "count": 4}


def test_only_ssh_takes_host_lists() -> None:
    with pytest.raises(UsageError, match="--hosts is for clusters over SSH"):
        LocalLauncher(1, PROGRAM).grow(Wish(hosts=["n1"]), ["node0"])
    with pytest.raises(UsageError, match="grows by --hosts LIST"):
        launcher_from_state(over_ssh("n1"), PROGRAM).grow(Wish(nodes=1), ["n1"])


def test_every_launcher_has_the_name_it_is_known_by() -> None:
    assert {name: kind(name).name for name in KINDS} == {name: name for name in KINDS}
    with pytest.raises(UsageError, match=r"no launcher is called 'x'; known: local, ssh, flux, slurm"):
        kind("x")
