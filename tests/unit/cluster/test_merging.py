"""A cluster's kubeconfig goes into the user's own and comes out again; all else in there stays as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from usernetes_deploy.cluster import merging
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import Secret, UsageError

OTHER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
    "users": [{"name": "me", "user": {"token": "t"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
    "current-context": "work",
}


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    """A cluster named demo."""
    made = ClusterState(tmp_path / "state", "demo")
    made.create()
    made.write({"name": "demo"})
    document = {"clusters": [{"cluster": {"server": "https://demo"}}], "users": [{"user": {"client-key-data": "k"}}]}
    made.write_secret("kubeconfig", Secret(json.dumps(document)))
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The user's own file, with another cluster in it."""
    path = tmp_path / ".kube" / "config"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(OTHER))
    return path


def test_it_goes_in_beside_the_others_and_comes_out_with_the_cluster(state: ClusterState, target: Path) -> None:
    assert merging.merge(state.directory, "demo", target, switch=True) == "usernetes-demo"
    merged = yaml.safe_load(target.read_text())
    assert [item["name"] for item in merged["contexts"]] == ["work", "usernetes-demo"]
    assert merged["clusters"][1] == {"name": "usernetes-demo", "cluster": {"server": "https://demo"}}
    assert merged["current-context"] == "usernetes-demo"
    assert target.stat().st_mode & 0o777 == 0o600
    state.remove()
    assert yaml.safe_load(target.read_text()) == {**OTHER, "current-context": ""}


def test_twice_is_once_and_the_context_is_only_switched_on_demand(state: ClusterState, target: Path) -> None:
    for _ in range(2):
        merging.merge(state.directory, "demo", target, switch=False)
    merged = yaml.safe_load(target.read_text())
    assert len(merged["users"]) == 2
    assert merged["current-context"] == "work"


def test_a_file_that_is_not_there_is_made(state: ClusterState, tmp_path: Path) -> None:
    target = tmp_path / "new" / "config"
    merging.merge(state.directory, "demo", target, switch=True)
    assert target.parent.stat().st_mode & 0o777 == 0o700
    assert yaml.safe_load(target.read_text())["kind"] == "Config"


def test_somebody_elses_entry_of_that_name_is_left_alone(state: ClusterState, target: Path) -> None:
    entry = {"name": "usernetes-demo", "context": {"cluster": "x", "user": "y"}}
    before = yaml.safe_dump({**OTHER, "contexts": [*OTHER["contexts"], entry]})
    target.write_text(before)
    with pytest.raises(UsageError, match="has an entry usernetes-demo that is not of this cluster"):
        merging.merge(state.directory, "demo", target, switch=True)
    state.remove()
    assert target.read_text() == before


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "clusters: 3", "clusters: [3]"])
def test_what_is_no_kubeconfig_is_refused_and_stays(state: ClusterState, target: Path, text: str) -> None:
    target.write_text(text)
    with pytest.raises(UsageError, match="it is no kubeconfig"):
        merging.merge(state.directory, "demo", target, switch=True)
    assert target.read_text() == text


def test_a_link_stays_a_link_and_its_target_is_written(state: ClusterState, target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    merging.merge(state.directory, "demo", link, switch=False)
    assert link.is_symlink()
    assert "usernetes-demo" in target.read_text()


@pytest.mark.skipif(os.getuid() == 0, reason="root owns what it links to")
def test_a_file_of_another_user_is_refused(state: ClusterState, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="is no file of yours"):
        merging.merge(state.directory, "demo", link, switch=False)


def test_another_cluster_of_the_same_name_is_somebody_elses(state: ClusterState, target: Path, tmp_path: Path) -> None:
    other = ClusterState(tmp_path / "other", "demo")
    other.create()
    other.write({"name": "demo"})
    other.write_secret("kubeconfig", state.read_secret("kubeconfig"))
    merging.merge(state.directory, "demo", target, switch=True)
    with pytest.raises(UsageError, match="not of this cluster"):
        merging.merge(other.directory, "demo", target, switch=True)
    before = target.read_text()
    other.remove()
    assert target.read_text() == before


def test_a_file_that_was_spoilt_meanwhile_does_not_keep_the_cluster(state: ClusterState, target: Path) -> None:
    merging.merge(state.directory, "demo", target, switch=True)
    target.write_text("clusters: [3]")
    state.remove()
    assert not state.directory.exists()
