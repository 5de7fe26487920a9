"""What cannot be done with Flux jobs is refused with its reason and exit code, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flux.clusters import Clusters
from tests.flux.instance import Instance

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "flux-jobs").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_directives_of_every_script_are_understood(instance: Instance, script: Path) -> None:
    name = str(instance.root / script.name)
    jobspec = json.loads(instance.ask("flux", "batch", "--dry-run", name))["attributes"]["system"]
    assert jobspec["duration"] > 0
    assert script.stem.startswith(jobspec["job"]["name"])
    own = json.loads(instance.ask("flux", "batch", "--dry-run", "-N2", "-n2", "-t5m", name))
    assert own["resources"][0]["count"] == 2
    assert own["attributes"]["system"]["duration"] == 300


def test_an_unknown_job_is_refused(verbs: Clusters) -> None:
    for verb in ("status", "kubeconfig", "down"):
        code, said = verbs.refused(verb, "--cluster", "ƒ1234567")
        assert code == 2
        assert "there is no job ƒ1234567" in said


def test_a_job_that_is_no_cluster_is_refused(verbs: Clusters, instance: Instance) -> None:
    job = instance.ask("flux", "submit", "-N1", "sleep", "60")
    try:
        instance.ask("flux", "job", "wait-event", job, "start")
        code, said = verbs.refused("status", "--cluster", job)
        assert (code, f"job {job} has no cluster" in said) == (2, True)
    finally:
        instance.ask("flux", "cancel", job)
        instance.run(["flux", "job", "wait-event", job, "clean"])
    code, said = verbs.refused("status", "--cluster", job)
    assert (code, f"job {job} has ended: canceled" in said) == (2, True)


def test_a_job_that_waits_in_the_queue_is_said_to_wait(verbs: Clusters, instance: Instance) -> None:
    job = instance.ask("flux", "submit", "--urgency=hold", "-N1", "true")
    try:
        code, said = verbs.refused("status", "--cluster", job)
        assert (code, "has not started" in said) == (2, True)
    finally:
        instance.ask("flux", "cancel", job)


def test_more_nodes_than_there_are_hosts_are_refused(verbs: Clusters) -> None:
    code, said = verbs.refused("up", "--launcher", "flux", "--nodes", "9")
    assert code in (1, 2)
    assert "unsatisfiable" in said


def test_job_outside_a_job_is_refused_with_what_to_do(verbs: Clusters) -> None:
    code, said = verbs.refused("job")
    assert code == 2
    assert "not inside a Flux" in said  # "or Slurm job", where that is installed as well
    assert "flux batch -N4" in said


def test_a_mistake_in_the_script_is_the_jobs_failure_and_leaves_nothing(verbs: Clusters) -> None:
    job = verbs.submit("-N2", job=("--set", "nods=2"))
    assert verbs.ended(job) == 2
    assert "nods" in verbs.output(job)
    verbs.nothing_left()


def test_a_missing_bundle_is_the_jobs_failure_and_leaves_nothing(verbs: Clusters) -> None:
    job = verbs.submit("-N2")
    assert verbs.ended(job) == 1
    assert "/var/lib/no bundle" in verbs.output(job)
    verbs.nothing_left()


def test_more_nodes_than_the_job_has_are_refused(verbs: Clusters) -> None:
    job = verbs.submit("-N2", job=("--nodes", "3"))
    assert verbs.ended(job) == 2
    assert "3 nodes were asked for, the Flux instance has 2" in verbs.output(job)


def test_flux_that_does_not_answer_is_said(verbs: Clusters, instance: Instance) -> None:
    done = instance.run(["usernetes", "status", "--cluster", "ƒ1234567"], env={"FLUX_URI": "local:///nowhere"})
    assert done.returncode in (1, 2)
    assert "/nowhere" in done.stderr
