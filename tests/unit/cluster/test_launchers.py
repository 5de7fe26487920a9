"""A cluster over SSH grows by further hosts: a name that is taken is refused, a host that comes back is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member
from usernetes_deploy.cluster.launchers import enlarged
from usernetes_deploy.cluster.membership import Membership
from usernetes_deploy.cluster.record import written
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.hostlist import load
from usernetes_deploy.launch.ssh.launcher import SshLauncher

PROGRAM = Path("node.pyz")


def document(hosts: str, nodes: list[str]) -> dict[str, Any]:
    return {
        "launcher": dict(SshLauncher(load(hosts), PROGRAM).to_state()),
        "members": written(Membership(replace(member(index), name=name) for index, name in enumerate(nodes))),
    }


def test_a_host_with_the_name_of_a_node_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"already names of nodes: n1 \(n1.b.example\)\n  fix: .*`name` of its own"):
        enlarged(document("n1.a.example", ["n1"]), PROGRAM, None, "n1.b.example,n2.b.example")


def test_a_host_that_was_given_up_may_come_again() -> None:
    launcher, further = enlarged(document("n1,n2", ["n1"]), PROGRAM, None, "n[2-3]")
    assert [host.name for host in further] == ["n2", "n3"]
    assert [host.name for host in launcher.hosts()] == ["n1", "n2", "n3"]
