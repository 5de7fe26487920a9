"""What stays in the record when `add` fails: nodes that may still run, and what the cluster was before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.phases.made_up import make
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher
from usernetes_deploy.phases.check_nodes import CheckNodes
from usernetes_deploy.phases.connect_hosts import ConnectHosts
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.probe_nodes import ProbeNodes
from usernetes_deploy.phases.record_growth import RecordGrowth
from usernetes_deploy.phases.stage_bundle import StageBundle
from usernetes_deploy.phases.start_nodes import StartNodes


class Fails:
    """A phase that comes after the nodes were started."""

    title = "fail"

    def check(self, _: BringUp) -> bool:
        """Always."""
        return True

    def apply(self, _: BringUp) -> str:
        """Fail."""
        raise UsernetesError("no luck")

    def undo(self, _: BringUp) -> None:
        """Nothing."""


def grown(tmp_path: Path) -> BringUp:
    """A change of a cluster that was degraded before."""
    up = make(tmp_path, 2)
    up.phase_before = "degraded"
    up.given_up = {"node9": "never Ready"}
    up.state.create()
    phases: Sequence[Any] = (
        ConnectHosts(),
        ProbeNodes(),
        CheckNodes(),
        RecordGrowth(),
        StageBundle(),
        PlanNetwork(),
        IssueCredentials(),
        StartNodes(),
        Fails(),
    )
    with pytest.raises(UsernetesError, match="no luck"):
        run(phases, up, up.report)
    return up


def test_nodes_that_could_not_be_stopped_stay_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = FakeLauncher.run

    def silent_at_the_end(self: FakeLauncher, host: Host, argv: Sequence[str], **options: Any) -> Completed:
        if "stop" in argv and host.name == "node1":
            raise TimedOut("no answer", node=host.name)
        return ask(self, host, argv, **options)

    monkeypatch.setattr(FakeLauncher, "run", silent_at_the_end)
    up = grown(tmp_path)
    document = up.state.read()
    assert "node1" in {node["name"] for node in document["nodes"]}
    assert document["phase"] == "degraded"
    assert "they may still run: usernetes remove NAME --force" in up.report.stream.getvalue()  # type: ignore[attr-defined]


def test_what_the_cluster_was_before_it_is_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    # A cluster has a first node; here it is the change's own, and nothing can be recorded without one.
    monkeypatch.setattr("usernetes_deploy.phases.record_growth.record", lambda _, phase: written.append(phase))
    grown(tmp_path)
    assert (written[0], written[-1]) == ("growing", "degraded")
