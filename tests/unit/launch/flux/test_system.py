"""Flux as a batch system: job ids, submission, time left."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.unit.launch.flux.flux_fake import NUMBER, FakeFlux, flux_with_a_cluster
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.flux.system import FluxSystem


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command that knows one running job with a cluster."""
    return flux_with_a_cluster(tmp_path / "bin")


@pytest.fixture
def system(fake: FakeFlux) -> FluxSystem:
    """The system that is asked by that command."""
    return FluxSystem(fake.instance())


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
def test_what_may_be_a_job_id(system: FluxSystem, text: str, may_be: bool) -> None:
    assert system.names_job(text) is may_be


def test_submitting_passes_the_arguments_unharmed(system: FluxSystem, fake: FakeFlux) -> None:
    fake.answer("batch", stdout="ƒ2EqTrdbu\n")
    words = ["--set", 'network={"mtu": 1400}', "--set", "name=a b"]
    assert system.submit(4, words, name="usernetes", time_limit="2h", queue=None).id == "ƒ2EqTrdbu"
    call = fake.called_with("batch")
    assert call["argv"] == ["batch", "--nodes=4", "--job-name=usernetes", "--output=kvs", "--time-limit=2h"]
    assert call["stdin"] == "#!/bin/sh\nexec usernetes job --set 'network={\"mtu\": 1400}' --set 'name=a b'\n"


def test_a_refused_job_says_why(system: FluxSystem, fake: FakeFlux) -> None:
    fake.answer("batch", stderr="flux-batch: ERROR: unsatisfiable request\n", code=1)
    with pytest.raises(UsageError, match="unsatisfiable request"):
        system.submit(4, [], name="usernetes", time_limit=None, queue=None)


def test_the_outermost_instance_is_no_job(system: FluxSystem) -> None:
    assert system.own_job() is None


@pytest.mark.parametrize(
    ("said", "seconds"), [("infinity\n", math.inf), ("36.5\n", 36.5), ("not a number\n", math.inf)]
)
def test_the_time_that_is_left(system: FluxSystem, fake: FakeFlux, said: str, seconds: float) -> None:
    fake.answer("job", "timeleft", stdout=said)
    assert system.time_left() == seconds


def test_a_system_without_its_command_is_not_available(system: FluxSystem, fake: FakeFlux) -> None:
    assert system.available()
    Path(fake.path).unlink()
    assert not system.available()
