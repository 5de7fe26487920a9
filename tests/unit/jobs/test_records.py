"""Clusters are found by the id of their job, and what is no cluster of ours is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, recorded
from tests.unit.launch.flux.flux_fake import NUMBER, RECORD, FakeFlux, flux_with_a_cluster
from usernetes_deploy.cluster.state import SCHEMA, ClusterState
from usernetes_deploy.errors import JobEnded, UsageError
from usernetes_deploy.jobs import records, systems
from usernetes_deploy.launch.flux.system import FluxSystem


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFlux:
    """The only batch system: a `flux` command that knows one running job with a cluster."""
    made = flux_with_a_cluster(tmp_path / "bin")
    monkeypatch.setattr(systems, "every", lambda: [FluxSystem(made.instance())])
    return made


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
    fake: FakeFlux, tmp_path: Path, name: str, changes: dict[str, Any], said: str
) -> None:
    fake.shows(name, **changes)
    with pytest.raises(UsageError) as caught:
        records.adopt(tmp_path / "state", "f2EqTrdbu")
    assert said in caught.value.reason
    assert not [call for call in fake.calls() if call["argv"][:2] == ["job", "info"]]


def test_that_a_job_is_over_can_be_told_apart(fake: FakeFlux, tmp_path: Path) -> None:
    fake.shows("job-canceled")
    with pytest.raises(JobEnded):
        records.adopt(tmp_path / "state", "f2EqTrdbu")


def test_adopting_writes_the_state_directory_for_its_owner_alone(fake: FakeFlux, tmp_path: Path) -> None:
    state = records.adopt(tmp_path / "state", "f2EqTrdbu")
    assert state.name == "job-1"
    assert state.kubeconfig.read_text() == "the-key"
    assert state.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in state.directory.iterdir()} == {0o600}


def test_adopting_twice_gives_the_same_directory(fake: FakeFlux, tmp_path: Path) -> None:
    document = {"schema": SCHEMA, "name": "job-1", "launcher": {"launcher": "flux", "job": "ƒ2EqTrdbu"}}
    fake.answer("job", "info", stdout=json.dumps({"cluster.json": json.dumps(document)}))
    with pytest.raises(UsageError, match="it has no kubeconfig yet"):
        records.adopt(tmp_path, "f2EqTrdbu")
    first = records.adopt(tmp_path, "f2EqTrdbu", half_made=True)
    fake.answer("job", "info", stderr="flux-job: key not found\n", code=1)
    assert records.adopt(tmp_path, NUMBER) == first


def test_a_cluster_of_the_same_name_is_not_overwritten(fake: FakeFlux, tmp_path: Path) -> None:
    records.adopt(tmp_path, "f2EqTrdbu")
    with pytest.raises(UsageError, match="another cluster here is named job-1"):
        records.adopt(tmp_path, "f2EqTrdbu")


def test_a_record_cannot_write_elsewhere(fake: FakeFlux, tmp_path: Path) -> None:
    fake.answer("job", "info", stdout=json.dumps({**RECORD, "../../escaped": "x"}))
    records.adopt(tmp_path / "a" / "b", "f2EqTrdbu")
    assert not list(tmp_path.rglob("escaped"))


def test_a_cluster_that_is_still_starting_has_to_be_waited_for(fake: FakeFlux, tmp_path: Path) -> None:
    fake.answer("job", "info", stderr="flux-job: guest.usernetes.cluster: key not found\n", code=1)
    fake.shows("job-running", annotations={"user": {"usernetes": "starting"}})
    with pytest.raises(UsageError, match="is starting, it has no kubeconfig yet"):
        records.adopt(tmp_path, "f2EqTrdbu")


def two_clusters(root: Path) -> None:
    for name, launcher in (("gone", {"launcher": "flux", "job": "ƒ2EqTrdbu"}), ("here", {"launcher": "local"})):
        (root / name).mkdir(parents=True)
        record = {"schema": 1, "name": name, "launcher": launcher}  # of another version: a job ends all the same
        (root / name / "cluster.json").write_text(json.dumps(record))


def test_state_directories_of_ended_jobs_are_forgotten(fake: FakeFlux, tmp_path: Path) -> None:
    root = tmp_path / "state"
    two_clusters(root)
    assert records.forget_ended(root) == []
    fake.shows("job-canceled")
    assert records.forget_ended(root) == ["gone"]
    assert [path.name for path in root.iterdir() if path.is_dir()] == ["here"]


def test_without_the_batch_system_a_state_directory_stays(fake: FakeFlux, tmp_path: Path) -> None:
    two_clusters(tmp_path / "state")
    Path(fake.path).unlink()
    assert records.forget_ended(tmp_path / "state") == []


def test_ready_clusters_in_jobs_are_listed(fake: FakeFlux, tmp_path: Path) -> None:
    assert [state.name for state in records.with_jobs(tmp_path / "state")] == ["job-1"]


def test_what_was_changed_here_is_stored_with_the_job(fake: FakeFlux, tmp_path: Path) -> None:
    two_clusters(tmp_path / "state")
    records.publish_change(ClusterState(tmp_path / "state", "here"))
    assert not [call for call in fake.calls() if call["argv"][:2] == ["kvs", "put"]]
    (tmp_path / "state" / "gone" / records.SESSION).write_text('{"pid": 1}')
    records.publish_change(ClusterState(tmp_path / "state", "gone"))
    assert set(json.loads(fake.called_with("kvs", "put")["stdin"])) == {"cluster.json", "session.json"}


def test_the_first_record_of_a_cluster_has_its_nodes_looked_for(tmp_path: Path) -> None:
    state = ClusterState(tmp_path, "job-1")
    state.create()
    members = [{"name": "fl0", "state": "placed"}, {"name": "fl1", "state": "given-up"}]
    state.write({**recorded([member(0)]).document(), "name": "job-1", "members": members})
    stored = json.loads(records.of_beginning(state)["cluster.json"].reveal())
    assert [member["state"] for member in stored["members"]] == ["started", "given-up"]
