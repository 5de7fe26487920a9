"""Jobs that are to become a cluster are submitted, followed, and waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.launch.flux.flux_fake import FakeFlux, flux_with_a_cluster
from usernetes_deploy.cluster.spec import ClusterSpec
from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.jobs import submitting
from usernetes_deploy.launch.flux.system import FluxSystem


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command that knows one running job with a cluster."""
    return flux_with_a_cluster(tmp_path / "bin")


@pytest.fixture
def system(fake: FakeFlux) -> FluxSystem:
    """The batch system that is asked by that command."""
    return FluxSystem(fake.instance())


def test_a_cluster_without_nodes_is_refused(system: FluxSystem) -> None:
    with pytest.raises(UsageError, match="at least 1 node, got 0"):
        submitting.submit(system, 0, [])


def test_a_spec_travels_as_arguments_its_name_only_where_it_was_said() -> None:
    spec = ClusterSpec(name="web", nodes=3, metrics=True)
    assert "metrics=true" in submitting.arguments(spec, named=False)
    assert 'name="web"' in submitting.arguments(spec, named=True)
    assert 'name="web"' not in submitting.arguments(spec, named=False)


def test_following_tells_each_state_once_and_ends_when_ready(system: FluxSystem) -> None:
    told: list[str] = []
    assert submitting.follow(system.job("f2EqTrdbu"), told.append, 1).cluster == "ready"
    assert told == ["job ƒ2EqTrdbu on fl[0-2]: ready"]


def test_following_a_job_that_ends_shows_its_last_words(system: FluxSystem, fake: FakeFlux) -> None:
    fake.shows("job-canceled")
    fake.answer("job", "attach", stdout="usernetes: no bundle\n", code=1)
    with pytest.raises(UsernetesError, match=r"ended before its cluster was ready: canceled \(cancel\)") as caught:
        submitting.follow(system.job("f2EqTrdbu"), lambda _: None, 1)
    assert "usernetes: no bundle" in str(caught.value)


def test_following_has_an_end(system: FluxSystem, fake: FakeFlux) -> None:
    fake.shows("job-held")
    with pytest.raises(TimedOut, match=r"is sched after 0.1 s; it stays in the queue"):
        submitting.follow(system.job("f2EqTrdbu"), lambda _: None, 0.1)


def test_waiting_for_the_end_of_a_job_has_an_end_too(system: FluxSystem, fake: FakeFlux) -> None:
    job = system.job("f2EqTrdbu")
    with pytest.raises(TimedOut, match="flux cancel"):
        submitting.wait_ended(job, 0.1)
    fake.shows("job-canceled")
    submitting.wait_ended(job, 5)
