"""Hosts as they are asked and judged together: clocks, and machines that the bundle is not for."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.phases.made_up import make
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.errors import NodeFailures
from usernetes_deploy.launch import base
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher


class DriversTime:
    """The driver's clock, which a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> DriversTime:
    """Hosts are asked one after the other, by a driver whose clock goes on only while a host answers."""
    made = DriversTime()
    monkeypatch.setattr(time, "time", made.time)
    monkeypatch.setattr("usernetes_deploy.phases.probe_nodes.on_all", one_by_one)
    return made


def one_by_one(hosts: Sequence[Host], call: object, *, deadline: float) -> base.Outcome:
    """`on_all` with one worker: what a driver does with more hosts than it asks side by side."""
    return base.on_all(hosts, call, deadline=deadline, workers=1)  # type: ignore[arg-type]


def asked(up: BringUp, clock: DriversTime, *, ahead: dict[str, float], login: float = 0.1) -> BringUp:
    """Every host's login shell takes `login` seconds; its clock is `ahead` of the driver's."""
    assert isinstance(up.launcher, FakeLauncher)
    recorded = up.launcher._answers["sh"]

    def answer(host: Host, argv: Sequence[str], stdin: bytes) -> Completed:
        clock.now += login
        done = recorded(host, argv, stdin)
        epoch = int(clock.now + ahead.get(host.name, 0))
        clock.now += 0.5
        return replace(done, stdout=re.sub(r"(?m)^epoch=\d+$", f"epoch={epoch}", done.stdout))

    up.launcher._answers["sh"] = answer
    run(bringup.CHECK, up, up.report)
    return up


def said(up: BringUp) -> str:
    assert isinstance(up.report.stream, io.StringIO)
    return up.report.stream.getvalue()


def test_hosts_whose_turn_comes_later_are_not_taken_for_ahead(tmp_path: Path, clock: DriversTime) -> None:
    up = asked(make(tmp_path, 20), clock, ahead={})
    assert len(up.newcomers) == 20
    assert "clock" not in said(up)


def test_a_slow_login_shell_is_no_skew(tmp_path: Path, clock: DriversTime) -> None:
    assert len(asked(make(tmp_path, 3), clock, ahead={}, login=9).newcomers) == 3


def test_the_host_whose_clock_differs_is_refused_by_name(tmp_path: Path, clock: DriversTime) -> None:
    with pytest.raises(NodeFailures) as caught:
        asked(make(tmp_path, 5), clock, ahead={"node3": 60})
    assert set(caught.value.failures) == {"node3"}
    assert re.search(r"node3: the clock is (58|59) s ahead of the other hosts'", str(caught.value))
    assert caught.value.exit_code == 3


def test_hosts_that_agree_with_each_other_but_not_with_this_machine_are_warned_of(
    tmp_path: Path, clock: DriversTime
) -> None:
    up = asked(make(tmp_path, 1), clock, ahead={"node0": 20})
    assert re.search(r"warning: the clock is (18|19|20) s ahead of this machine's \(node0\)", said(up))


def test_hosts_that_the_bundle_is_not_for_are_refused_with_the_remedy(tmp_path: Path, clock: DriversTime) -> None:
    up = make(tmp_path, 2)
    manifest = up.bundle.manifest
    up.found_bundle = replace(
        up.bundle, manifest=replace(manifest, document={**manifest.document, "architecture": "arm64"})
    )
    with pytest.raises(NodeFailures) as caught:
        asked(up, clock, ahead={})
    assert set(caught.value.failures) == {"node0", "node1"}
    assert caught.value.exit_code == 3
    assert "node1: the host is x86_64 (amd64), the bundle is for arm64" in str(caught.value)
    assert "fix: usernetes bundle build where the machine is x86_64" in str(caught.value)
