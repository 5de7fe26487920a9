"""The owner check of a node's folder, and what another user of the host could try against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import folder, verbs
from usernetes_deploy.node.procfs import start_time

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="being a second user needs root")
ATTACKER = 12345


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def node_of(place: Path, pid: int, cluster: str = "demo") -> Path:
    """A node's folder as its keeper leaves it, with `pid` as the keeper."""
    made = place / f"usernetes-{os.getuid()}" / "abc-0"
    made.mkdir(parents=True, mode=0o700)
    (made / "whose.json").write_text(json.dumps({"cluster": cluster, "bundle": "/b"}))
    (made / "keeper.json").write_text(json.dumps({"pid": pid, "startTime": start_time(pid)}))
    return made


def give_away(path: Path) -> None:
    for name in (path, *path.rglob("*")):
        os.lchown(name, ATTACKER, ATTACKER)


@ROOT
def test_another_users_folder_has_no_process_of_ours_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """The marker is a link to the victim's own, the keeper named in it any process of the victim's."""
    own = node_of(tmp_path / "own", os.getpid())
    planted = node_of(tmp_path / "planted", sleeper.pid)
    (planted / "whose.json").unlink()
    (planted / "whose.json").symlink_to(own / "whose.json")
    give_away(planted.parent)
    assert str(planted) not in [node["directory"] for node in folder.find(tmp_path / "planted")]
    with pytest.raises(UsernetesError, match=f"belongs to uid {ATTACKER}"):
        verbs.stop(planted, "rootlesskit")
    assert sleeper.poll() is None
    assert planted.exists()


@ROOT
def test_a_record_of_another_user_in_ones_own_folder_is_not_believed(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    made = node_of(tmp_path, sleeper.pid)
    os.chown(made / "keeper.json", ATTACKER, ATTACKER)
    verbs.stop(made, "rootlesskit")
    assert sleeper.poll() is None
    assert not made.exists()


@ROOT
@pytest.mark.parametrize("foreign", [True, False])
def test_sweeping_truncates_nothing_through_a_link(tmp_path: Path, foreign: bool) -> None:
    precious = tmp_path / "authorized_keys"
    precious.write_text("mine")
    planted = tmp_path / "base" / "x"
    planted.mkdir(parents=True)
    (planted / folder.OF_A_JOB).touch()
    (planted / folder.LOCK).symlink_to(precious)
    if foreign:
        give_away(tmp_path / "base")
    folder.sweep(tmp_path / "base", "rootlesskit")
    assert precious.read_text() == "mine"
    assert planted.exists()


def test_sweeping_removes_what_a_killed_job_left_and_lets_running_nodes_be(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in ("left", "running", "no-job"):
        (base / name).mkdir(parents=True)
    for name in ("left", "running"):
        (base / name / folder.OF_A_JOB).touch()
    held = folder.lock(base / "running")
    folder.sweep(base, "rootlesskit")
    os.close(held)
    assert sorted(path.name for path in base.iterdir()) == ["no-job", "running"]


@pytest.mark.parametrize("which", ["base", "node"])
@pytest.mark.parametrize("mode", [0o777, 0o702])
def test_a_folder_that_others_may_write_to_is_refused_everywhere(tmp_path: Path, which: str, mode: int) -> None:
    root = tmp_path / "base" / "abc-0"
    folder.make(config(root))
    (root if which == "node" else root.parent).chmod(mode)
    with pytest.raises(UsernetesError, match=r"(?s)everybody may write to .*chmod go-w"):
        folder.make(config(root))
    for call in (
        lambda: verbs.stop(root, "rootlesskit"),
        lambda: verbs.status(root),
        lambda: verbs.logs(root, [], 1, False),
        lambda: verbs.enter(root, ["true"], False),
        lambda: folder.remove(root, "rootlesskit"),
    ):
        with pytest.raises(UsernetesError, match="everybody may write to"):
            call()
    assert root.exists()


@ROOT
def test_a_group_with_other_members_is_refused_as_well(tmp_path: Path) -> None:
    root = tmp_path / "base" / "abc-0"
    folder.make(config(root))
    os.chown(root.parent, 0, 1)
    root.parent.chmod(0o770)
    with pytest.raises(UsernetesError, match=r"its group \(daemon\) may write to"):
        folder.make(config(root))


@pytest.mark.parametrize("umask", [0, 0o002, 0o007])
def test_the_folders_are_the_users_alone_with_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder.make(config(tmp_path / "s" / "b" / "n"))
    finally:
        os.umask(before)
    for path in ("s", "s/b", "s/b/n", "s/b/n/logs"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "abc-0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsernetesError, match="is not a folder"):
        folder.make(config(tmp_path / "base" / "abc-0"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_shared_volumes_lie_where_nobody_else_may_enter(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = folder.of_shared_volumes(tmp_path)
        assert folder.of_shared_volumes(tmp_path) == made  # every node of the cluster asks for it
    finally:
        os.umask(before)
    assert made == tmp_path / f"usernetes-volumes-{os.getuid()}"
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_volumes_from_before_is_found_while_it_is_ones_own(tmp_path: Path) -> None:
    (tmp_path / "usernetes-volumes").mkdir(mode=0o700)
    assert folder.of_shared_volumes(tmp_path) == tmp_path / "usernetes-volumes"
    (tmp_path / "usernetes-volumes").chmod(0o777)
    assert folder.of_shared_volumes(tmp_path) == tmp_path / f"usernetes-volumes-{os.getuid()}"


def test_a_folder_of_volumes_that_is_a_link_or_open_to_others_is_refused(tmp_path: Path) -> None:
    named = tmp_path / f"usernetes-volumes-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    named.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsernetesError, match="is not a folder that only you may enter"):
        folder.of_shared_volumes(tmp_path)
    named.unlink()
    named.mkdir(mode=0o755)
    with pytest.raises(UsernetesError, match=f"(?s)mode 755.*chmod 700 {named}"):
        folder.of_shared_volumes(tmp_path)


@ROOT
def test_two_users_of_one_project_directory_each_have_their_volumes(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    theirs = tmp_path / "usernetes-volumes"
    theirs.mkdir(mode=0o777)
    os.chown(theirs, ATTACKER, ATTACKER)
    assert folder.of_shared_volumes(tmp_path).name == f"usernetes-volumes-{os.getuid()}"


@ROOT
def test_the_control_socket_answers_its_own_user_only() -> None:
    serve = (
        "import pathlib, os, sys, time\n"
        "from usernetes_deploy.node import control\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "control.serve(path, {'status': lambda _: 'secret'}); path.chmod(0o666); print(flush=True)\n"
        "time.sleep(60)"
    )
    ask = (
        "import os, pathlib, sys\n"
        "from usernetes_deploy.node import control\n"
        f"os.setuid({ATTACKER})\n"
        "print(control.ask(pathlib.Path(sys.argv[1]), {'verb': 'status'}))"
    )
    with (
        tempfile.TemporaryDirectory() as open_to_all,  # pytest's own folders let no other user through
        subprocess.Popen(
            [sys.executable, "-c", serve, f"{open_to_all}/control.sock"], stdout=subprocess.PIPE
        ) as server,
    ):
        Path(open_to_all).chmod(0o755)
        path = f"{open_to_all}/control.sock"
        assert server.stdout
        server.stdout.readline()
        done = subprocess.run([sys.executable, "-c", ask, path], capture_output=True, text=True, check=False)
        server.send_signal(signal.SIGKILL)
    assert "secret" not in done.stdout
    assert "another user's process may not ask this node" in done.stderr
