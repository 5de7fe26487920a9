"""Clusters are found by the id of their job, and what is no cluster of ours is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.launch.flux.flux_fake import FakeFlux, make_fake_flux, recorded_job
from usernetes_deploy.cluster.state import SCHEMA
from usernetes_deploy.errors import Secret, TimedOut, UsageError, UsernetesError
from usernetes_deploy.jobs import flux_jobs
from usernetes_deploy.launch.flux.instance import Instance, parse_job
from usernetes_deploy.launch.flux.questions import ByCommand

NUMBER = "2734686208000"
RECORD = {"cluster.json": json.dumps({"schema": SCHEMA, "name": "job-1", "launcher": {}}), "kubeconfig": "the-key"}


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command that knows one running job with a cluster."""
    made = make_fake_flux(tmp_path / "bin")
    made.answer("job", "id", stdout=f"{NUMBER}\n")
    made.answer("job", "namespace", stdout=f"job-{NUMBER}\n")
    made.answer("job", "info", stdout=json.dumps(RECORD))
    for quiet in (("kvs", "put"), ("kvs", "unlink"), ("job", "memo")):
        made.answer(*quiet)
    shows(made, recorded_job("job-running"))
    return made


@pytest.fixture
def instance(fake: FakeFlux) -> Instance:
    """The instance that is asked by that command."""
    asked = Instance("local:///f", flux=fake.path)
    return Instance(asked.uri, flux=fake.path, questions=ByCommand(asked.command))


def shows(fake: FakeFlux, job: dict[str, Any]) -> None:
    fake.answer("jobs", "--json", stdout=json.dumps(job))


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        ("ƒ2EqTrdbu", True),
        ("f2EqTrdbu", True),
        ("ƒA3/ƒB7", True),
        (NUMBER, True),
        ("default", False),
        ("f", False),
        ("foo", False),
        ("ƒ0OIl", False),
        ("12", False),
        ("", False),
        ("ƒA3/web", False),
    ],
)
def test_what_may_be_a_job_id(text: str, may_be: bool) -> None:
    assert flux_jobs.looks_like_job(text) is may_be


def test_a_cluster_is_found_with_its_record(instance: Instance) -> None:
    found = flux_jobs.find("f2EqTrdbu", instance)
    assert (found.job.f58, found.state) == ("ƒ2EqTrdbu", "ready")
    assert found.record == {name: Secret(text) for name, text in RECORD.items()}
    assert "the-key" not in repr(found)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("job-running", {"userid": 64030}, "belongs to another user (uid 64030)"),
        ("job-canceled", {}, "has ended: canceled (cancel); its cluster is gone"),
        ("job-held", {}, "has not started (it is in the state SCHED)"),
        ("job-running", {"annotations": {}}, "has no cluster"),
    ],
)
def test_a_job_without_a_cluster_of_ours_is_a_wrong_call(
    instance: Instance, fake: FakeFlux, name: str, changes: dict[str, Any], said: str
) -> None:
    shows(fake, recorded_job(name, **changes))
    with pytest.raises(UsageError) as caught:
        flux_jobs.find("f2EqTrdbu", instance)
    assert said in caught.value.reason
    assert not [call for call in fake.calls() if call["argv"][:2] == ["job", "info"]]


def test_a_record_that_was_not_written_by_us_is_refused(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("job", "info", stdout="[1]")
    with pytest.raises(UsernetesError, match="not as usernetes wrote it"):
        flux_jobs.find("f2EqTrdbu", instance)


def test_a_record_that_may_not_be_read_is_an_error(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("job", "info", stderr="flux-job: guest.usernetes.cluster: Operation not permitted\n", code=1)
    with pytest.raises(UsernetesError, match="Operation not permitted"):
        flux_jobs.find("f2EqTrdbu", instance)


def test_the_record_travels_on_stdin_alone(instance: Instance, fake: FakeFlux) -> None:
    job = parse_job(recorded_job("job-running"))
    flux_jobs.publish(instance, job, {"kubeconfig": Secret("the-key")})
    call = fake.called_with("kvs", "put")
    assert call["argv"] == ["kvs", "put", f"--namespace=job-{NUMBER}", "--raw", "usernetes.cluster=-"]
    assert json.loads(call["stdin"]) == {"kubeconfig": "the-key"}
    assert not any("the-key" in word for call in fake.calls() for word in call["argv"])


def test_adopting_writes_the_state_directory_for_its_owner_alone(instance: Instance, tmp_path: Path) -> None:
    state = flux_jobs.adopt(tmp_path / "state", "f2EqTrdbu", instance)
    assert state.name == "job-1"
    assert state.kubeconfig.read_text() == "the-key"
    assert state.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in state.directory.iterdir()} == {0o600}


def test_adopting_twice_gives_the_same_directory(instance: Instance, fake: FakeFlux, tmp_path: Path) -> None:
    document = {"schema": SCHEMA, "name": "job-1", "launcher": {"launcher": "flux", "job": "ƒ2EqTrdbu"}}
    fake.answer("job", "info", stdout=json.dumps({"cluster.json": json.dumps(document)}))
    with pytest.raises(UsageError, match="it has no kubeconfig yet"):
        flux_jobs.adopt(tmp_path, "f2EqTrdbu", instance)
    first = flux_jobs.adopt(tmp_path, "f2EqTrdbu", instance, half_made=True)
    fake.answer("job", "info", stderr="flux-job: key not found\n", code=1)
    assert flux_jobs.adopt(tmp_path, NUMBER, instance) == first


def test_a_cluster_of_the_same_name_is_not_overwritten(instance: Instance, tmp_path: Path) -> None:
    flux_jobs.adopt(tmp_path, "f2EqTrdbu", instance)
    with pytest.raises(UsageError, match="another cluster here is named job-1"):
        flux_jobs.adopt(tmp_path, "f2EqTrdbu", instance)


def test_a_record_cannot_write_elsewhere(instance: Instance, fake: FakeFlux, tmp_path: Path) -> None:
    fake.answer("job", "info", stdout=json.dumps({**RECORD, "../../escaped": "x"}))
    flux_jobs.adopt(tmp_path / "a" / "b", "f2EqTrdbu", instance)
    assert not list(tmp_path.rglob("escaped"))


def test_a_cluster_that_is_still_starting_has_to_be_waited_for(
    instance: Instance, fake: FakeFlux, tmp_path: Path
) -> None:
    fake.answer("job", "info", stderr="flux-job: guest.usernetes.cluster: key not found\n", code=1)
    shows(fake, recorded_job("job-running", annotations={"user": {"usernetes": "starting"}}))
    with pytest.raises(UsageError, match="is starting, it has no kubeconfig yet"):
        flux_jobs.adopt(tmp_path, "f2EqTrdbu", instance)


def test_state_directories_of_ended_jobs_are_forgotten(instance: Instance, fake: FakeFlux, tmp_path: Path) -> None:
    for name, launcher in (("gone", {"launcher": "flux", "job": "ƒ2EqTrdbu"}), ("here", {"launcher": "local"})):
        (tmp_path / name).mkdir()
        record = {"schema": 1, "name": name, "launcher": launcher}  # of another version: its job has ended all the same
        (tmp_path / name / "cluster.json").write_text(json.dumps(record))
    assert flux_jobs.forget_ended(tmp_path, instance) == []
    shows(fake, recorded_job("job-canceled"))
    assert flux_jobs.forget_ended(tmp_path, instance) == ["gone"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "bin"] == ["here"]


def test_submitting_passes_the_arguments_unharmed(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("batch", stdout="ƒ2EqTrdbu\n")
    words = ["--set", 'network={"mtu": 1400}', "--set", "name=a b"]
    assert flux_jobs.submit(4, words, options=["--time-limit=2h"], instance=instance) == "ƒ2EqTrdbu"
    call = fake.called_with("batch")
    assert call["argv"][:2] == ["batch", "--nodes=4"]
    assert "--time-limit=2h" in call["argv"]
    assert call["stdin"] == "#!/bin/sh\nexec usernetes job --set 'network={\"mtu\": 1400}' --set 'name=a b'\n"


def test_a_refused_job_says_why(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("batch", stderr="flux-batch: ERROR: unsatisfiable request\n", code=1)
    with pytest.raises(UsageError, match="unsatisfiable request"):
        flux_jobs.submit(4, [], instance=instance)


def test_following_tells_each_state_once_and_ends_when_ready(instance: Instance) -> None:
    told: list[str] = []
    found = flux_jobs.follow("f2EqTrdbu", 1, instance=instance, tell=told.append)
    assert found.state == "ready"
    assert told == ["job ƒ2EqTrdbu on fl[0-2]: ready"]


def test_following_a_job_that_ends_shows_its_last_words(instance: Instance, fake: FakeFlux) -> None:
    shows(fake, recorded_job("job-canceled"))
    fake.answer("job", "attach", stdout="usernetes: no bundle\n", code=1)
    with pytest.raises(UsernetesError, match=r"ended before its cluster was ready: canceled \(cancel\)") as caught:
        flux_jobs.follow("f2EqTrdbu", 1, instance=instance)
    assert "usernetes: no bundle" in str(caught.value)


def test_following_has_an_end(instance: Instance, fake: FakeFlux) -> None:
    shows(fake, recorded_job("job-held"))
    with pytest.raises(TimedOut, match=r"is sched after 0.1 s; it stays in the queue"):
        flux_jobs.follow("f2EqTrdbu", 0.1, instance=instance)


def test_outside_a_job_there_is_no_own_job(instance: Instance) -> None:
    with pytest.raises(UsageError, match="not inside a Flux job"):
        flux_jobs.own_job(instance)
