"""The driver is ended in every phase of `up`: what it can still take back it does, and `down` does the rest."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.clusters import UP_SECONDS, Account, bring_up, wait_for
from usernetes_deploy.changes.bringup import UP
from usernetes_deploy.phases.apply_manifests import ApplyManifests

pytestmark = pytest.mark.cluster
NAME = "cut"
TITLES = [phase.title for phase in UP if phase.title != ApplyManifests.title]  # of which there are none here
INSIDE = {"wait for Ready": 1.0, "check DNS and pod network": 0.3}  # seconds into the phase
# The real command line, with one phase that sends a signal to its own process as it begins (or a while after).
DRIVER = """
import os, signal, sys, threading
from usernetes_deploy.changes import bringup
from usernetes_deploy import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored where tests run in the background
title, number, delay, *argv = sys.argv[1:]
kind = type(next(phase for phase in bringup.UP if phase.title == title))
apply = kind.apply
def wrapped(self, up):
    if float(delay):
        threading.Timer(float(delay), os.kill, (os.getpid(), int(number))).start()
    else:
        os.kill(os.getpid(), int(number))
    return apply(self, up)
kind.apply = wrapped
sys.exit(cli.run(["usernetes", *argv]))
"""
NOTHING: dict[str, object] = {"processes": {}, "mounts": [], "sockets": [], "interfaces": [], "files": []}


def up_cut_short(account: Account, title: str, number: int) -> subprocess.CompletedProcess[str]:
    words = [title, str(number), str(INSIDE.get(title, 0))]
    words += ["up", "--cluster", NAME, "--durability", "memory"]
    argv = account.become([account.python, "-c", DRIVER, *words])
    return subprocess.run(argv, capture_output=True, text=True, timeout=UP_SECONDS, cwd="/", check=False)


def left(account: Account) -> dict[str, Any]:
    found = account.leftovers()
    states = [name for name in found.pop("states") if not name.startswith(".") and not name.endswith(".failed")]
    return {**found, "states": states}


@pytest.fixture(autouse=True)
def clean(stranger: Account) -> Iterator[None]:
    """Each test begins with nothing and says so when the one before it left something."""
    assert left(stranger) == {**NOTHING, "states": []}
    yield
    stranger.usernetes("down", "--cluster", NAME)


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_an_interrupted_up_leaves_nothing(stranger: Account, title: str, number: int) -> None:
    done = up_cut_short(stranger, title, number)
    assert done.returncode == 130, done.stderr
    assert "FAILED" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert left(stranger) == {**NOTHING, "states": []}


@pytest.mark.parametrize("title", TITLES)
def test_what_a_killed_up_leaves_is_cleaned_by_down_and_up_works_again(stranger: Account, title: str) -> None:
    done = up_cut_short(stranger, title, signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if TITLES.index(title) > TITLES.index("record the cluster"):
        half_made = json.loads(stranger.usernetes("status", "--cluster", NAME, "--json").stdout)
        assert half_made["phase"] in ("starting", "running")
        again = stranger.usernetes("up", "--cluster", NAME)
        assert again.returncode == 2
        assert f"usernetes down --cluster {NAME}" in again.stderr
    done = stranger.usernetes("down", "--cluster", NAME)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not stranger.processes(), "every process ends", 5)
    assert left(stranger) == {**NOTHING, "states": []}


def test_up_works_after_all_that_and_two_clusters_and_two_users_do_not_meet(
    stranger: Account, account: Account
) -> None:
    first = bring_up(stranger, NAME, "--durability", "memory")
    second = bring_up(stranger, "beside", "--durability", "memory")
    third = bring_up(account, "beside", "--durability", "memory")
    servers = {one.record()["server"] for one in (first, second, third)}
    assert len(servers) == 3
    for one in (first, second, third):
        one.kubectl("create", "configmap", "mine", f"--from-literal=of={one.account.name}-{one.name}")
    for one in (first, second, third):
        assert one.get("configmap", "mine")["data"]["of"] == f"{one.account.name}-{one.name}"
    which = stranger.usernetes("status")
    assert which.returncode == 2
    assert "beside, cut" in which.stderr
    assert second.usernetes("down").returncode == 0
    assert first.status()["healthy"]
    assert third.status()["healthy"]
    assert third.usernetes("down").returncode == 0
    assert first.usernetes("down").returncode == 0
    assert left(stranger) == {**NOTHING, "states": []}
