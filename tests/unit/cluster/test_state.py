"""The state directory: who may read it, one change at a time, and which cluster is meant."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cluster.made_up import member, recorded
from usernetes_deploy.cluster.membership import Member, Membership
from usernetes_deploy.cluster.record import written
from usernetes_deploy.cluster.state import SCHEMA, ClusterState, choose, clusters, memory_file, state_root
from usernetes_deploy.errors import Secret, UsageError, UsernetesError

WHOLE = {
    "name": "demo",
    "phase": "running",
    "created": "2026-01-02T03:04:05+00:00",
    "id": "ab",
    "version": "0.1.0",
    "spec": {},
    "phases": {},
    "server": "https://192.0.2.2:20002",
    "launcher": {"launcher": "local", "count": 1},
    "bundle": {"name": "0123", "root": "/opt/bundle"},
    "members": [],
}


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    made = ClusterState(tmp_path / "usernetes", "demo")
    made.create()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_may_read_anything_of_it(state: ClusterState) -> None:
    old = os.umask(0)
    try:
        state.write({"name": "demo"})
        path = state.write_secret("kubeconfig", Secret("key"))
    finally:
        os.umask(old)
    assert mode(state.directory) == 0o700
    assert mode(path) == mode(state.directory / "cluster.json") == 0o600
    assert path.read_text() == "key"


def test_a_directory_that_others_could_read_is_closed(tmp_path: Path) -> None:
    made = ClusterState(tmp_path, "demo")
    made.directory.mkdir(mode=0o755)
    made.create()
    assert mode(made.directory) == 0o700


def test_what_was_written_is_read_again_and_drafts_are_gone(state: ClusterState) -> None:
    state.write(WHOLE)
    assert state.read() == {"schema": SCHEMA, **WHOLE}
    assert [path.name for path in state.directory.iterdir()] == ["cluster.json"]


def test_a_second_cluster_of_the_name_is_refused_with_both_ways_out(state: ClusterState) -> None:
    state.write({})
    with pytest.raises(UsageError) as caught:
        state.create()
    assert str(caught.value).splitlines()[0] == "a cluster named demo exists"
    assert "usernetes down --cluster demo" in str(caught.value)


def test_a_state_of_another_version_is_not_guessed_at(state: ClusterState) -> None:
    (state.directory / "cluster.json").write_text('{"schema": 99}')
    with pytest.raises(UsernetesError, match=r"another version of usernetes \(record 99, this one reads 2\)"):
        state.read()


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_state_is_named(state: ClusterState, text: str) -> None:
    (state.directory / "cluster.json").write_text(text)
    with pytest.raises(UsernetesError, match=r"cluster\.json"):
        state.read()


def test_a_directory_that_cannot_be_made_says_how_to_choose_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsernetesError, match="set XDG_STATE_HOME") as caught:
        ClusterState(tmp_path / "file", "demo").create()
    assert caught.value.exit_code == 1


def hold(root: Path, ready: multiprocessing.synchronize.Event, go: multiprocessing.synchronize.Event) -> None:
    with ClusterState(root, "demo").locked():
        ready.set()
        go.wait(20)


def test_a_cluster_is_changed_by_one_process_at_a_time(state: ClusterState) -> None:
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=hold, args=(state.root, ready, go))
    other.start()
    assert ready.wait(20)
    with (
        pytest.raises(UsageError, match=f"being changed by process {other.pid} on {socket.gethostname()}"),
        state.locked(),
    ):
        pytest.fail("locked twice")
    go.set()
    other.join()
    with state.locked():
        pass
    assert not list(state.root.glob(".*.lock"))


def test_the_lock_of_a_killed_process_holds_nobody_up(state: ClusterState) -> None:
    script = (
        "import os, sys, pathlib; from usernetes_deploy.cluster.state import ClusterState\n"
        "with ClusterState(pathlib.Path(sys.argv[1]), 'demo').locked(): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(state.root)], check=False)
    assert done.returncode == -9
    with state.locked():
        pass


def test_the_only_cluster_needs_no_name_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no cluster\n  fix: usernetes up"):
        choose(tmp_path, None, {})
    for name in ("a", "b"):
        made = ClusterState(tmp_path, name)
        made.create()
        made.write({})
        if name == "a":
            assert choose(tmp_path, None, {}).name == "a"
    with pytest.raises(UsageError, match=r"which cluster\? There are a, b"):
        choose(tmp_path, None, {})
    assert choose(tmp_path, None, {"USERNETES_CLUSTER": "b"}).name == "b"
    assert choose(tmp_path, "a", {"USERNETES_CLUSTER": "b"}).name == "a"
    with pytest.raises(UsageError, match="no cluster named c; there are a, b"):
        choose(tmp_path, "c", {})


def test_folders_that_are_no_clusters_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo.failed").mkdir()
    (tmp_path / ".demo.lock").touch()
    assert clusters(tmp_path) == []
    assert clusters(tmp_path / "nowhere") == []


def test_the_root_follows_the_xdg_rules(tmp_path: Path) -> None:
    assert state_root({"XDG_STATE_HOME": "/x", "HOME": "/h"}) == Path("/x/usernetes")
    assert state_root({"HOME": "/h"}) == Path("/h/.local/state/usernetes")


def test_bytes_in_memory_can_be_read_by_path_while_they_are_needed() -> None:
    with memory_file(b"words") as path:
        assert Path(path).read_bytes() == b"words"
    assert not Path(path).exists()


def test_an_api_is_made_of_the_kubeconfig_alone(state: ClusterState) -> None:
    state.write_secret("kubeconfig", Secret(json.dumps({"clusters": []})))
    with pytest.raises(UsernetesError, match="not as usernetes wrote it"):
        state.api()
    (state.directory / "kubeconfig").unlink()
    with pytest.raises(UsernetesError, match=r"read .*kubeconfig: No such file"):
        state.api()


@pytest.mark.parametrize("lost", ["name", "launcher", "members", "bundle"])
def test_a_record_that_lacks_a_field_is_named_with_the_way_out(state: ClusterState, lost: str) -> None:
    whole = recorded([member(0)]).document()
    state.write(whole)
    assert state.record().document() == whole
    state.write({name: value for name, value in whole.items() if name != lost})
    with pytest.raises(UsernetesError, match=f"no proper {lost}") as caught:
        state.record()
    assert "down --cluster demo --force" in str(caught.value)
    assert not state.is_readable()


@pytest.mark.parametrize(
    ("members", "why"),
    [([], "no member carries the control plane"), ([replace(member(0), place=None)], "node0: it is ready and has no")],
)
def test_a_record_without_a_control_plane_is_as_good_as_none(
    state: ClusterState, members: list[Member], why: str
) -> None:
    state.write({**recorded([member(0)]).document(), "members": written(Membership(members))})
    with pytest.raises(UsernetesError, match=f"cluster.json: {why}.*\n  fix: usernetes down --cluster demo --force"):
        state.record()


def test_what_was_said_wins_over_what_is_guessed(tmp_path: Path) -> None:
    made = ClusterState(tmp_path, "b")
    made.create()
    made.write({})
    assert choose(tmp_path, None, {}).name == "b"
    with pytest.raises(UsageError, match="there is no cluster named a; there are b"):
        choose(tmp_path, None, {"USERNETES_CLUSTER": "a"})
