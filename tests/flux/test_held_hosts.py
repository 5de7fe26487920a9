"""Jobs that hold hosts for the cluster of another job: what they are told, and what they live through."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.flux.clusters import Clusters
from tests.flux.machines import UID, wait_until

STRANGE_FLUX = """#!/bin/sh
if [ "$1" = jobs ] && [ -e {folder}/broken ]; then echo "no answer today" >&2; exit 1; fi
if [ "$1" = jobs ] && [ -e {folder}/slow ]; then touch {folder}/asked; sleep 5; fi
exec {flux} "$@"
"""


@pytest.fixture
def cluster(verbs: Clusters) -> Iterator[str]:
    """A job that says it is a cluster, on one core."""
    job = verbs.instance.ask("flux", "submit", "-n1", "sleep", "600")
    verbs.instance.ask("flux", "job", "wait-event", job, "start")
    verbs.instance.ask("flux", "job", "memo", job, "usernetes=ready")
    yield job
    verbs.instance.run(["flux", "cancel", job])


def hold(verbs: Clusters, cluster: str, *options: str, script: str = "usernetes-join.sh") -> str:
    """Submit a job that holds hosts for `cluster`, and wait until it does; returns its id."""
    job = verbs.instance.ask("flux", "batch", "--output=kvs", *options, f"{verbs.instance.root}/{script}", cluster)
    wait_until(lambda: "for the cluster of job" in verbs.output(job), "the held hosts", 60)
    return job


@pytest.mark.parametrize("hosts", [1, 2])
def test_the_hosts_are_given_back_in_peace(verbs: Clusters, cluster: str, hosts: int) -> None:
    job = hold(verbs, cluster, f"-N{hosts}")
    verbs.instance.ask("flux", "job", "kill", "--signal=USR1", job)
    assert verbs.ended(job) == 0, verbs.output(job)


def test_neither_a_question_that_fails_nor_one_hit_by_the_same_signal_drops_the_hosts(
    verbs: Clusters, cluster: str
) -> None:
    folder = verbs.instance.root / "questions"
    folder.mkdir()
    os.chown(folder, UID, UID)
    (folder / "flux").write_text(STRANGE_FLUX.format(folder=folder, flux=verbs.instance.flux))
    (folder / "flux").chmod(0o755)
    # In the script, for Flux puts its own folder in front of the PATH that a job inherits.
    script = f"#!/bin/sh\nexport PATH='{folder}':$PATH\nexec usernetes job --join \"$@\"\n"
    (verbs.instance.root / "asked-in-vain.sh").write_text(script)
    job = hold(verbs, cluster, "-n1", script="asked-in-vain.sh")
    (folder / "broken").touch()
    why = "cannot be seen: flux jobs --json"
    wait_until(lambda: why in verbs.output(job) and "no answer today" in verbs.output(job), "the failed question")
    (folder / "broken").unlink()
    (folder / "slow").touch()
    wait_until((folder / "asked").exists, "a question under way")
    verbs.instance.ask("flux", "job", "kill", "--signal=USR1", job)
    assert verbs.ended(job) == 0, verbs.output(job)
    assert verbs.output(job).count("cannot be seen") == 1
