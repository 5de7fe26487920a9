"""What Flux answers is understood, and what is not understood is said."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.unit.launch.flux.flux_fake import DATA, FakeFlux, make_fake_flux, recorded_job
from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.flux.instance import (
    Instance,
    Member,
    parse_idset,
    parse_job,
    parse_members,
    reachable,
)
from usernetes_deploy.launch.flux.questions import ByCommand


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command with recorded answers."""
    return make_fake_flux(tmp_path / "bin")


@pytest.fixture
def instance(fake: FakeFlux) -> Instance:
    """An instance that is asked by that command."""
    made = Instance("local:///run/flux/local", flux=fake.path)
    return Instance("local:///run/flux/local", flux=fake.path, questions=ByCommand(made.command))


def resource_set(ranks: str, hosts: list[str], **children: str) -> dict[str, object]:
    return {
        "version": 1,
        "execution": {"R_lite": [{"rank": ranks, "children": children}], "nodelist": hosts},
    }


def test_members_have_their_share_of_cores_and_gpus() -> None:
    assert parse_members(resource_set("0-1", ["n[09-10]"], core="0-3,8", gpu="0-1")) == [
        Member(0, "n09", 5, 2),
        Member(1, "n10", 5, 2),
    ]


def test_members_of_different_shapes_are_put_in_the_order_of_their_ranks() -> None:
    answer = {
        "version": 1,
        "execution": {
            "R_lite": [{"rank": "1,3", "children": {"core": "0"}}, {"rank": "0,2", "children": {"core": "0-1"}}],
            "nodelist": ["a", "b[1-2]", "c"],
        },
    }
    assert parse_members(answer) == [
        Member(0, "a", 2, 0),
        Member(1, "b1", 1, 0),
        Member(2, "b2", 2, 0),
        Member(3, "c", 1, 0),
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({**resource_set("0", ["a"]), "version": 2}, "version 2"),
        (resource_set("0-2", ["a", "b"]), "2 hosts for 3 ranks"),
    ],
)
def test_a_resource_set_that_does_not_add_up_is_refused(answer: dict[str, object], said: str) -> None:
    with pytest.raises(UsernetesError, match=said):
        parse_members(answer)


@pytest.mark.parametrize(("text", "numbers"), [("", []), ("3", [3]), ("0-2,7", [0, 1, 2, 7]), ("[4-5]", [4, 5])])
def test_idsets(text: str, numbers: list[int]) -> None:
    assert parse_idset(text) == numbers


def test_what_is_no_idset_is_quoted() -> None:
    with pytest.raises(UsernetesError, match="'0-x' is no idset"):
        parse_idset("0-x")


def test_the_recorded_resource_set_has_three_hosts(instance: Instance) -> None:
    assert [member.host for member in instance.members()] == ["fl0", "fl1", "fl2"]


def test_a_running_job_is_read(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("jobs", "--json", stdout=(DATA / "job-running.json").read_text())
    fake.answer("job", "id", stdout="2734686208000\n")
    job = instance.job("f2EqTrdbu")
    assert (job.f58, job.state, job.hosts, job.host_count) == ("ƒ2EqTrdbu", "RUN", "fl[0-2]", 3)
    assert job.uri == "ssh://fl0/tmp/flux-8YueC4/local-0"
    assert job.memo == {"usernetes": "ready"}
    assert not job.ended


def test_a_cancelled_job_says_so() -> None:
    job = parse_job(recorded_job("job-canceled"))
    assert job.ended
    assert job.result == "CANCELED"
    assert job.exception.startswith("cancel")


def test_a_list_of_jobs_and_a_single_one_are_both_understood(instance: Instance, fake: FakeFlux) -> None:
    entry = recorded_job("job-running")
    fake.answer("jobs", "--json", stdout=json.dumps({"jobs": [entry, entry]}))
    assert len(instance.jobs()) == 2


def test_an_unknown_job_is_a_wrong_call(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("jobs", "--json", stderr="JobID 12345678 unknown\n", code=1)
    fake.answer("job", "id", stdout="12345678\n")
    with pytest.raises(UsageError, match="there is no job 12345678"):
        instance.job("12345678")


def test_what_is_no_job_id_is_a_wrong_call(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("job", "id", stderr="flux-job: no job: malformed input\n", code=1)
    with pytest.raises(UsageError, match="'no job' is no Flux job id"):
        instance.job("no job")


def test_an_attribute_that_is_not_set_is_none(instance: Instance) -> None:
    assert instance.ask.attribute("jobid") is None
    assert instance.parent() is None


def test_an_answer_that_is_no_json_is_quoted(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("resource", "R", stdout="Segmentation fault")
    with pytest.raises(UsernetesError, match="'Segmentation fault'"):
        instance.members()


def test_without_flux_it_is_said_what_to_do() -> None:
    with pytest.raises(UsernetesError, match="there is no `flux` command") as caught:
        Instance(flux="/nowhere/flux").command("jobs")
    assert "PATH" in str(caught.value)


def test_a_silent_flux_is_not_waited_for(tmp_path: Path) -> None:
    slow = tmp_path / "flux"
    slow.write_text("#!/bin/sh\nexec sleep 10\n")
    slow.chmod(0o755)
    with pytest.raises(TimedOut, match=r"no answer within 0.1 s"):
        Instance(flux=str(slow)).command("jobs", timeout=0.1)


def test_every_call_goes_to_the_instances_own_uri(instance: Instance, fake: FakeFlux) -> None:
    instance.offline()
    assert fake.calls()[-1]["uri"] == "local:///run/flux/local"


def test_offline_ranks_are_read(instance: Instance, fake: FakeFlux) -> None:
    fake.answer("resource", "status", stdout="1,4-5\n")
    assert instance.offline() == {1, 4, 5}


@pytest.mark.parametrize(("text", "version"), [("0.79.0\n", (0, 79)), ("1.2.3-4-gabc\n", (1, 2))])
def test_the_version_is_read(instance: Instance, fake: FakeFlux, text: str, version: tuple[int, int]) -> None:
    fake.answer("getattr", "version", stdout=text)
    assert instance.version() == version


def test_a_uri_of_this_host_needs_no_ssh() -> None:
    assert reachable(f"ssh://{socket.gethostname()}/tmp/f/local-0") == "local:///tmp/f/local-0"
    assert reachable("ssh://elsewhere.example/tmp/f/local-0") == "ssh://elsewhere.example/tmp/f/local-0"
    assert reachable("") == ""


def test_the_remote_uri_names_the_brokers_host(instance: Instance) -> None:
    assert instance.remote_uri() == "ssh://fl0/tmp/flux-8YueC4/local-0"
