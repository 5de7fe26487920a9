"""Jobs that hold hosts for the cluster of another job: what they are told, and what they live through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flux.clusters import Clusters
from tests.flux.instance import Instance
from tests.flux.machines import UID, wait_until

STRANGE_FLUX = """#!/bin/sh
if [ "$1" = jobs ] && [ -e {folder}/broken ]; then echo "no answer today" >&2; exit 1; fi
if [ "$1" = jobs ] && [ -e {folder}/slow ]; then touch {folder}/asked; sleep 5; fi
exec {flux} "$@"
"""


@pytest.fixture
def jobs(instance: Instance) -> Clusters:
    """What submits and awaits jobs; no cluster is needed here."""
    return Clusters(instance, Path("/var/lib/no bundle"))


@pytest.fixture
def cluster(jobs: Clusters) -> Iterator[str]:
    """A job that says it is a cluster, on one core."""
    job = jobs.instance.ask("flux", "submit", "-n1", "sleep", "600")
    jobs.instance.ask("flux", "job", "wait-event", job, "start")
    jobs.instance.ask("flux", "job", "memo", job, "usernetes=ready")
    yield job
    jobs.instance.run(["flux", "cancel", job])


def hold(jobs: Clusters, cluster: str, *options: str, before: str = "") -> str:
    """Submit a job that holds hosts for `cluster`, and wait until it does; returns its id."""
    script = f"#!/bin/sh\n{before}\nexec usernetes job --join {cluster}\n"
    job = jobs.instance.run(["flux", "batch", "--output=kvs", *options], stdin=script).stdout.strip()
    wait_until(lambda: "for the cluster of job" in jobs.output(job), "the held hosts", 60)
    return job


@pytest.mark.parametrize("hosts", [1, 2])
def test_the_hosts_are_given_back_in_peace(jobs: Clusters, cluster: str, hosts: int) -> None:
    job = hold(jobs, cluster, f"-N{hosts}")
    jobs.instance.ask("flux", "job", "kill", "--signal=USR1", job)
    assert jobs.ended(job) == 0, jobs.output(job)


def test_neither_a_question_that_fails_nor_one_hit_by_the_same_signal_drops_the_hosts(
    jobs: Clusters, cluster: str
) -> None:
    folder = jobs.instance.root / "questions"
    folder.mkdir()
    os.chown(folder, UID, UID)
    (folder / "flux").write_text(STRANGE_FLUX.format(folder=folder, flux=jobs.instance.flux))
    (folder / "flux").chmod(0o755)
    job = hold(jobs, cluster, "-n1", before=f"export PATH='{folder}':$PATH")
    (folder / "broken").touch()
    why = "cannot be seen: flux jobs --json"
    wait_until(lambda: why in jobs.output(job) and "no answer today" in jobs.output(job), "the failed question")
    (folder / "broken").unlink()
    (folder / "slow").touch()
    wait_until((folder / "asked").exists, "a question under way")
    jobs.instance.ask("flux", "job", "kill", "--signal=USR1", job)
    assert jobs.ended(job) == 0, jobs.output(job)
    assert jobs.output(job).count("cannot be seen") == 1
