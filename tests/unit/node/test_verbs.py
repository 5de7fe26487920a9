"""What is done about a node from outside: told, stopped, removed; also when it is half made or not there."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import control, folder, verbs
from usernetes_deploy.node.procfs import start_time
from usernetes_deploy.paths import base_in


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "base" / "abc-0"
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "kubelet.log").write_text("one\ntwo\nthree\n")
    return made


@pytest.fixture
def sleeper() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of the test, reaped by a thread as they end."""
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for process in made:
        process.kill()
        process.wait()


def start(made: list[subprocess.Popen[bytes]], *words: str, name: str = "python3") -> subprocess.Popen[bytes]:
    """A process whose command line is `name`, Python's own words, and `words`."""
    argv = [name, "-c", "import time; print(flush=True); time.sleep(60)", *words]
    process = subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    made.append(process)
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def record(directory: Path, pid: int, began: int | None) -> None:
    document = {"pid": pid, "startTime": began, "rootlesskit": None, "restarts": 1, "lastExit": "killed by SIGKILL"}
    (directory / "keeper.json").write_text(json.dumps(document))


def test_nothing_is_known_of_a_node_that_is_not_there(tmp_path: Path) -> None:
    assert verbs.status(tmp_path / "none") == {"keeper": None, "node": None, "log": []}


def test_a_node_that_cannot_be_asked_is_told_of_from_its_files(directory: Path) -> None:
    (directory / "status.json").write_text(json.dumps({"name": "node0", "components": []}))
    (directory / "logs" / "node.log").write_text("last words\n")
    record(directory, os.getpid(), start_time(os.getpid()))
    answer = verbs.status(directory)
    assert answer["keeper"]["alive"]
    assert answer["node"]["name"] == "node0"
    assert answer["log"] == ["last words"]


def test_a_process_that_got_the_keepers_number_is_not_the_keeper(directory: Path) -> None:
    began = start_time(os.getpid())
    assert began
    record(directory, os.getpid(), began - 1)
    assert not verbs.status(directory)["keeper"]["alive"]
    verbs.stop(directory, "rootlesskit")  # and is not killed as one: this test goes on
    assert not directory.exists()


def test_a_running_node_is_asked_over_its_socket(directory: Path) -> None:
    record(directory, os.getpid(), start_time(os.getpid()))
    control.serve(directory / "control.sock", {"status": lambda _: {"name": "asked"}})
    assert verbs.status(directory)["node"]["name"] == "asked"


def test_stopping_ends_the_keeper_and_removes_everything(
    directory: Path, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    keeper = start(sleeper)
    record(directory, keeper.pid, start_time(keeper.pid))
    verbs.stop(directory, "rootlesskit")
    assert keeper.wait(10) == -signal.SIGTERM
    assert not directory.exists()
    assert not directory.parent.exists()  # it was the last node here


def test_a_keeper_that_has_written_nothing_yet_is_found_by_its_command_line(
    directory: Path, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    keeper = start(sleeper, "/p/node-1.pyz", "run", f"--directory={directory}")
    other = start(sleeper, "/p/node-1.pyz", "run", f"--directory={directory}1")
    verbs.stop(directory, "rootlesskit")
    assert keeper.wait(10) == -signal.SIGKILL
    assert other.poll() is None


@pytest.mark.parametrize(
    "words",
    [
        ["/b/bin/rootlesskit", "--state-dir={}/rk"],
        ["/proc/self/exe", "--state-dir={}/rk"],
        ["slirp4netns", "--userns-path=x", "/proc/1/root{}/rk/netns"],
        ["pasta", "--netns=/proc/1/root{}/rk/netns"],
    ],
)
def test_what_a_dead_keeper_left_running_is_ended(
    directory: Path, sleeper: list[subprocess.Popen[bytes]], words: list[str]
) -> None:
    left = start(sleeper, *(word.format(directory) for word in words[1:]), name=words[0])
    verbs.stop(directory, "rootlesskit")
    assert left.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    "words",
    [
        ["sh", "sleep 60; : reads {}/rk/log"],
        ["vi", "{}/rk/log"],
        ["grep", "--state-dir={}/rk"],
        ["grep", "--directory={}"],
        ["less", "{}/keeper.lock"],
    ],
)
def test_a_process_that_only_names_the_folder_is_let_live(
    directory: Path, sleeper: list[subprocess.Popen[bytes]], words: list[str]
) -> None:
    bystander = start(sleeper, *(word.format(directory) for word in words[1:]), name=words[0])
    verbs.stop(directory, "rootlesskit")
    assert bystander.poll() is None


def test_a_start_that_comes_after_its_stop_makes_no_node(tmp_path: Path) -> None:
    root = tmp_path / "base" / "abc-0"
    verbs.stop(root, "rootlesskit", late=True)
    blob = config(root).to_json()
    argv = [sys.executable, "-m", "usernetes_deploy.node", "start", f"--directory={root}"]
    done = subprocess.run(argv, input=blob, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"the node was stopped before its start came" in done.stderr
    assert not root.exists()
    other = config(root.with_name("abc-1"), bundle=str(tmp_path))
    folder.make(other)
    assert not folder.was_stopped(other.root)


def test_words_of_old_stops_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(3):
        verbs.stop(tmp_path / "base" / f"abc-{number}", "rootlesskit", late=True)
    for word in (tmp_path / "base").iterdir():
        os.utime(word, (0, 0))
    verbs.stop(tmp_path / "base" / "abc-9", "rootlesskit", late=True)
    assert [word.name for word in (tmp_path / "base").iterdir()] == [".stopped-abc-9"]


def test_a_stuck_keeper_is_killed_after_a_second(directory: Path, sleeper: list[subprocess.Popen[bytes]]) -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    keeper = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert keeper.stdout
    keeper.stdout.readline()
    keeper.stdout.close()
    sleeper.append(keeper)
    threading.Thread(target=keeper.wait, daemon=True).start()
    record(directory, keeper.pid, start_time(keeper.pid))
    began = time.monotonic()
    verbs.stop(directory, "rootlesskit")
    assert keeper.wait(10) == -signal.SIGKILL
    assert time.monotonic() - began >= 1


def test_stopping_twice_or_what_was_never_there_is_fine(directory: Path) -> None:
    verbs.stop(directory, "rootlesskit")
    verbs.stop(directory, "rootlesskit")


def test_the_logs_can_be_kept(directory: Path, tmp_path: Path) -> None:
    verbs.stop(directory, "rootlesskit", keep=tmp_path / "kept")
    assert (tmp_path / "kept" / "kubelet.log").read_text() == "one\ntwo\nthree\n"
    assert not directory.exists()


def test_other_nodes_of_the_user_keep_their_folders(directory: Path) -> None:
    (directory.parent / "abc-1").mkdir()
    verbs.stop(directory, "rootlesskit")
    assert [path.name for path in directory.parent.iterdir()] == ["abc-1"]


def test_folders_without_permissions_are_removed(directory: Path) -> None:
    work = directory / "containerd" / "io.containerd.snapshotter.v1.overlayfs" / "snapshots" / "7" / "work" / "work"
    work.mkdir(parents=True)
    work.chmod(0)
    folder.remove(directory, "rootlesskit")
    assert not directory.exists()


def test_what_cannot_be_removed_is_an_error_that_names_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises((UsernetesError, OSError)):
        folder.remove(directory, "/bin/false")
    assert directory.exists()


def run_node(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "usernetes_deploy.node", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_the_end_of_the_named_logs_is_printed(directory: Path) -> None:
    done = run_node("logs", str(directory), "--component=kubelet", "--lines=2")
    assert (done.returncode, done.stdout) == (0, "two\nthree\n")


def test_logs_are_followed_until_the_keeper_ends(directory: Path, sleeper: list[subprocess.Popen[bytes]]) -> None:
    keeper = start(sleeper)
    record(directory, keeper.pid, start_time(keeper.pid))
    argv = [sys.executable, "-m", "usernetes_deploy.node", "logs", str(directory), "--follow", "--lines=1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        assert follower.stdout.readline() == "three\n"
        with (directory / "logs" / "kubelet.log").open("a") as log:
            log.write("four\n")
        assert follower.stdout.readline() == "four\n"
        keeper.kill()
        assert follower.stdout.read() == ""
    assert follower.returncode == 0
    done = run_node("logs", str(directory), "--follow", "--lines=1")  # it has ended already
    assert (done.returncode, done.stdout) == (0, "four\n")


def test_an_unknown_component_is_refused_with_those_there_are(directory: Path) -> None:
    done = run_node("logs", str(directory), "--component=kublet")
    assert done.returncode == 1
    assert "no log of kublet" in done.stderr
    assert "choose among kubelet" in done.stderr


def test_a_node_that_does_not_run_cannot_be_entered(directory: Path) -> None:
    done = run_node("enter", str(directory), "--", "true")
    assert done.returncode == 1
    assert "no node is running in" in done.stderr


@pytest.mark.parametrize("verb", ["run", "start"])
def test_a_node_that_was_told_nothing_says_so(verb: str) -> None:
    done = run_node(verb)
    assert done.returncode == 1
    assert "configuration on stdin is not complete" in done.stderr
    assert "Traceback" not in done.stderr


def test_nodes_are_found_with_the_cluster_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for place, name in (("tmp", "abc-0"), ("other", "abc-1")):
        made = tmp_path / place / f"usernetes-{os.getuid()}" / name
        made.mkdir(parents=True)
        (made / "whose.json").write_text(json.dumps({"cluster": "demo", "bundle": "/b"}))
    (tmp_path / "tmp" / f"usernetes-{os.getuid()}" / "abc-7").mkdir()
    ours = [node for node in folder.find(tmp_path / "other") if node["directory"].startswith(str(tmp_path))]
    assert [node["directory"].rpartition("/")[2] for node in ours] == ["abc-0", "abc-1"]
    assert {node["cluster"] for node in ours} == {"demo"}


class Standing:
    """A keeper that stands for a moment; `fails` before that."""

    def __init__(self, root: Path, fails: str = "") -> None:
        self.config = argparse.Namespace(name="n0", root=root, logs=root)
        self.fails = fails

    def run(self, standing: Callable[[], None]) -> int:
        if self.fails:
            raise UsernetesError(self.fails)
        standing()
        time.sleep(1)
        return 0


def test_a_node_in_the_background_says_who_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert verbs.in_background(Standing(tmp_path)) == 0  # type: ignore[arg-type]
    handle = json.loads(capfd.readouterr().out)
    assert handle["directory"] == str(tmp_path)
    assert start_time(handle["pid"]) == handle["startTime"]


def test_a_node_that_cannot_stand_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsernetesError, match="n0: no room"):
        verbs.in_background(Standing(tmp_path, "no room"))  # type: ignore[arg-type]


def test_bundles_that_no_node_needs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = base_in(tmp_path, os.getuid()) / "bundle"
    for name in ("old", "kept", "needed"):
        (parent / name / "bin").mkdir(parents=True)
        (parent / name / "manifest.json").write_text("{}")
        (parent / name / "bin" / "runc").write_text("12345")
    parent.chmod(0o755)
    monkeypatch.setattr(folder, "places", lambda _: iter([parent.parent]))
    monkeypatch.setattr(folder, "find", lambda _: [{"bundle": str(parent / "needed")}])
    assert verbs.prune(tmp_path, ["kept"]) == {"removed": [str(parent / "old")], "bytes": 5}
    assert sorted(path.name for path in parent.iterdir() if path.name[0] != ".") == ["kept", "needed"]


def test_what_a_node_wrote_in_a_life_that_is_over_is_marked(directory: Path) -> None:
    (directory / "status.json").write_text(json.dumps({"name": "n", "problems": ["a full disk"]}))
    record(directory, os.getpid(), start_time(os.getpid()))
    found = verbs.status(directory)
    assert found["keeper"]["alive"]
    assert found["node"]["problems"] == ["a full disk", "it does not answer: it is being started, or it hangs"]
    assert verbs.status(directory, brief=True)["node"]["problems"] == ["a full disk"]
