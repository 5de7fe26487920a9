"""Which batch system is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.launch.flux.flux_fake import FakeFlux, flux_with_a_cluster
from usernetes_deploy.errors import UsageError
from usernetes_deploy.jobs import systems
from usernetes_deploy.launch.flux.system import FluxSystem


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFlux:
    """The only batch system."""
    made = flux_with_a_cluster(tmp_path / "bin")
    monkeypatch.setattr(systems, "every", lambda: [FluxSystem(made.instance())])
    return made


def test_outside_a_job_there_is_no_own_job(fake: FakeFlux) -> None:
    with pytest.raises(UsageError, match="not inside a Flux job"):
        systems.own()


def test_inside_a_job_it_is_found(fake: FakeFlux) -> None:
    fake.answer("getattr", "parent-uri", stdout="local:///parent\n")
    fake.answer("getattr", "jobid", stdout="ƒ2EqTrdbu\n")
    system, job = systems.own()
    assert (system.name, job.id) == ("flux", "ƒ2EqTrdbu")


def test_the_job_of_a_record_is_found_by_its_launcher(fake: FakeFlux) -> None:
    assert systems.job_of({"launcher": "flux", "job": "ƒ2EqTrdbu"}).cluster == "ready"
    for other in ({"launcher": "local", "count": 1}, {"launcher": "flux", "job": ""}):
        assert systems.of_record(other) is None
        with pytest.raises(UsageError, match="in no job"):
            systems.job_of(other)


def test_what_is_spelt_like_no_job_is_a_wrong_call(fake: FakeFlux) -> None:
    assert not systems.names_job("default")
    with pytest.raises(UsageError, match="no id of a job"):
        systems.find("default")
