"""A Flux job as the code about jobs sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.launch.flux.flux_fake import NUMBER, RECORD, FakeFlux, flux_with_a_cluster
from usernetes_deploy.errors import Secret, UsageError, UsernetesError
from usernetes_deploy.launch.flux.job import FluxJob, find


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command that knows one running job with a cluster."""
    return flux_with_a_cluster(tmp_path / "bin")


def job_of(fake: FakeFlux) -> FluxJob:
    return find("f2EqTrdbu", fake.instance())


def test_a_job_is_described_in_the_words_of_all_batch_systems(fake: FakeFlux) -> None:
    job = job_of(fake)
    assert (job.id, job.slug, job.state, job.cluster) == ("ƒ2EqTrdbu", NUMBER, "running", "ready")
    assert job.commands["cancel"] == "flux cancel ƒ2EqTrdbu"


@pytest.mark.parametrize(
    ("name", "state"), [("job-held", "pending"), ("job-running", "running"), ("job-canceled", "ended")]
)
def test_states(fake: FakeFlux, name: str, state: str) -> None:
    fake.shows(name)
    assert job_of(fake).state == state


def test_how_a_job_ended(fake: FakeFlux) -> None:
    assert job_of(fake).result == ""
    fake.shows("job-canceled")
    assert job_of(fake).result == "canceled (cancel)"


def test_a_record_is_a_secret(fake: FakeFlux) -> None:
    record = job_of(fake).record()
    assert record == {name: Secret(text) for name, text in RECORD.items()}
    assert "the-key" not in repr(record)


def test_a_job_that_published_nothing_has_no_record(fake: FakeFlux) -> None:
    fake.answer("job", "info", stderr="flux-job: guest.usernetes.cluster: key not found\n", code=1)
    assert job_of(fake).record() is None


def test_a_record_that_was_not_written_by_us_is_refused(fake: FakeFlux) -> None:
    fake.answer("job", "info", stdout="[1]")
    with pytest.raises(UsernetesError, match="not as usernetes wrote it"):
        job_of(fake).record()


def test_a_record_that_may_not_be_read_is_an_error(fake: FakeFlux) -> None:
    fake.answer("job", "info", stderr="flux-job: guest.usernetes.cluster: Operation not permitted\n", code=1)
    with pytest.raises(UsernetesError, match="Operation not permitted"):
        job_of(fake).record()


def test_the_record_travels_on_stdin_alone(fake: FakeFlux) -> None:
    job_of(fake).publish({"kubeconfig": Secret("the-key")})
    call = fake.called_with("kvs", "put")
    assert call["argv"] == ["kvs", "put", f"--namespace=job-{NUMBER}", "--raw", "usernetes.cluster=-"]
    assert json.loads(call["stdin"]) == {"kubeconfig": "the-key"}
    assert not any("the-key" in word for call in fake.calls() for word in call["argv"])


def test_a_job_that_is_gone_is_a_wrong_call(fake: FakeFlux) -> None:
    job = job_of(fake)
    fake.answer("jobs", "--json", stderr="flux-jobs: ERROR: JobID ƒ2EqTrdbu unknown\n", code=1)
    with pytest.raises(UsageError, match="there is no job ƒ2EqTrdbu"):
        job.again()


def test_the_jobs_that_hold_hosts_for_a_cluster_are_those_whose_memo_says_so(fake: FakeFlux) -> None:
    job = job_of(fake)
    assert job.holding() == []
    fake.shows("job-running", annotations={"user": {"usernetes_joins": "ƒ2EqTrdbu"}})
    assert [other.id for other in job.holding()] == ["ƒ2EqTrdbu"]
