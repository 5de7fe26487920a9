"""The demo's application: what is applied, what is waited for, and what the visitor saw."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.made_up import FakeApi
from usernetes_deploy.commands import demo
from usernetes_deploy.errors import TimedOut, UsernetesError

WEB = "/apis/apps/v1/namespaces/default/daemonsets/web"
JOB = "/apis/batch/v1/namespaces/default/jobs/visitor"
PODS = "/api/v1/namespaces/default/pods?labelSelector=batch.kubernetes.io/job-name=visitor"


def api(**status: Any) -> Any:
    """An API where the web servers are ready and the visitor's job has this status."""
    phases = {"a": "Failed", "b": "Succeeded"}
    pods = [{"metadata": {"name": name}, "status": {"phase": phase}} for name, phase in phases.items()]
    return FakeApi(
        {
            WEB: {"status": {"desiredNumberScheduled": 3, "numberReady": 3}},
            JOB: {"status": status},
            PODS: {"items": pods},
            "/api/v1/namespaces/default/pods/b/log": "10 node0\n20 node1\n",
        }
    )


def test_what_the_visitor_saw_is_the_log_of_the_pod_that_succeeded() -> None:
    made = api(succeeded=1)
    assert demo.visit(made, "localhost/busybox:1") == "10 node0\n20 node1"
    kinds = [manifest["kind"] for manifest in made.applied]
    assert sorted(kinds) == ["DaemonSet", "Job", "Service"]
    assert kinds[-1] == "Job"  # not before the web servers are ready
    pods = [manifest["spec"]["template"]["spec"] for manifest in made.applied if manifest["kind"] != "Service"]
    assert {pod["containers"][0]["image"] for pod in pods} == {"localhost/busybox:1"}


def test_a_visitor_that_failed_is_said_at_once() -> None:
    with pytest.raises(UsernetesError, match="the visitor did not reach the web servers by name"):
        demo.visit(api(conditions=[{"type": "Failed"}]), "b")


def test_what_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 0.01)
    made = api(succeeded=1)
    made.paths[WEB] = {"status": {"desiredNumberScheduled": 3, "numberReady": 2}}
    with pytest.raises(TimedOut, match=r"not within 0\.01 s: the web servers are ready"):
        demo.visit(made, "b")
    assert "Job" not in [manifest["kind"] for manifest in made.applied]


def test_web_servers_that_nobody_has_counted_yet_are_not_ready() -> None:
    assert not demo._rolled_out({"status": {"desiredNumberScheduled": 0, "numberReady": 0}})
    assert not demo._rolled_out({})


def test_the_demo_does_not_end_a_cluster_that_somebody_called_demo() -> None:
    assert demo.NAME not in ("demo", "default")
