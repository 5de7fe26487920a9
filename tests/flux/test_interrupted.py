"""What brings a cluster up in a job is killed in every phase: `down` from the login host removes what it left."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.flux.clusters import NODE_FOLDERS, Clusters
from tests.flux.machines import wait_until
from usernetes_deploy.changes.bringup import UP
from usernetes_deploy.phases.apply_manifests import ApplyManifests

pytestmark = pytest.mark.cluster
TITLES = [phase.title for phase in UP if phase.title != ApplyManifests.title]  # of which there are none here
RECORDED = TITLES.index("record the cluster")
INSIDE = {"issue credentials": 0.3, "start the nodes": 0.5, "wait for Ready": 1.0, "check DNS and pod network": 0.3}
# The real command line, with one phase that sends SIGKILL to its own process some seconds after it began.
DRIVER = """
import os, signal, sys, threading, time
from usernetes_deploy.changes import bringup
from usernetes_deploy import cli
title, delay, *argv = sys.argv[1:]
kind = type(next(phase for phase in bringup.UP if phase.title == title))
apply = kind.apply
def wrapped(self, up):
    threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL)).start()
    done = apply(self, up)
    time.sleep(5)  # some take no time
    return done
kind.apply = wrapped
sys.exit(cli.run(["usernetes", *argv]))
"""


def submit(clusters: Clusters, title: str, afterwards: str) -> str:
    """A job whose driver kills itself in the phase `title`; then its script goes on with `afterwards`."""
    root = clusters.instance.root
    (root / "driver.py").write_text(DRIVER)
    script = root / "killed.sh"
    words = f"python {root}/driver.py '{title}' {INSIDE.get(title, 0.1)} job --set bundle={clusters.bundle}"
    script.write_text(f"#!/bin/sh\n{words}\n{afterwards}\n")
    return clusters.instance.ask("flux", "batch", "-N2", "--output=kvs", str(script))


def nodes_left(clusters: Clusters) -> list[str]:
    """Node folders and processes of nodes on all hosts: what is left of a cluster in a job that goes on."""
    found = []
    for host in clusters.instance.members:
        found += [line for line in clusters.instance.job_processes(host) if NODE_FOLDERS in line]
        found += clusters.instance.run(["sh", "-c", f"ls -d {NODE_FOLDERS}/*-[0-9]*"], at=host).stdout.split()
    return found


@pytest.mark.parametrize("title", TITLES)
def test_down_from_the_login_host_stops_what_a_killed_driver_left_in_a_job_that_goes_on(
    clusters: Clusters, title: str
) -> None:
    job = submit(clusters, title, "echo the driver is gone; sleep 600")
    try:
        wait_until(lambda: "the driver is gone" in clusters.output(job), f"the end of the driver in {title}", 90)
        number = clusters.instance.ask("flux", "job", "id", "--to=dec", job)
        known = f"ls -d ~/.local/state/usernetes/job-{number}"
        assert not clusters.instance.run(["sh", "-c", known]).stdout, "the login host is to know nothing of it"
        down = clusters.instance.run(["usernetes", "down", "--cluster", job])
        if TITLES.index(title) < RECORDED:
            assert (down.returncode, "it has no kubeconfig yet" in down.stderr) == (2, True)
        else:
            assert down.returncode == 0, down.stderr
            assert "2 nodes stopped, nothing left" in down.stderr
        assert nodes_left(clusters) == []
        assert clusters.job(job)["state"] == "RUN"
    finally:
        clusters.instance.run(["flux", "cancel", job])
    clusters.ended(job)
    forget_state(clusters)
    clusters.nothing_left()


@pytest.mark.parametrize("title", ["stage the bundle", "start the nodes", "wait for Ready"])
def test_a_job_whose_driver_is_killed_ends_and_takes_its_nodes_along(clusters: Clusters, title: str) -> None:
    job = submit(clusters, title, "exit $?")
    assert clusters.ended(job) == 128 + signal.SIGKILL
    down = clusters.instance.run(["usernetes", "down", "--cluster", job])
    assert (down.returncode, f"job {job} has ended" in down.stderr) == (0, True)
    forget_state(clusters)
    clusters.nothing_left()


def test_a_driver_killed_beside_a_ready_cluster_does_not_keep_down_from_stopping_it(clusters: Clusters) -> None:
    root: Path = clusters.instance.root
    script = root / "ready.sh"
    script.write_text(f"#!/bin/sh\nusernetes job --set bundle={clusters.bundle}\nsleep 600\n")
    job = clusters.ready(clusters.instance.ask("flux", "batch", "-N2", "--output=kvs", str(script)))
    record = json.loads(clusters.instance.ask("flux", "job", "info", job, "guest.usernetes.cluster"))
    pid = str(json.loads(record["session.json"])["pid"])
    clusters.instance.ask("kill", "-KILL", pid, at="fl0")
    try:
        down = clusters.instance.run(["usernetes", "down", "--cluster", job])
        assert down.returncode == 0, down.stderr
        assert "the nodes are stopped from here" in down.stderr
        assert nodes_left(clusters) == []
    finally:
        clusters.instance.run(["flux", "cancel", job])
    clusters.ended(job)
    forget_state(clusters)
    clusters.nothing_left()


def test_flux_job_kill_ends_a_cluster_as_cancel_does(clusters: Clusters) -> None:
    job = clusters.ready(clusters.submit("-N2"))
    clusters.instance.ask("flux", "job", "kill", "--signal=TERM", job)
    assert clusters.ended(job) != 0
    clusters.nothing_left()


def forget_state(clusters: Clusters) -> None:
    """On its first host a killed driver leaves its state directory, for the next verb there that looks at the jobs."""
    assert clusters.usernetes("list", at="fl0") == "no clusters"
