"""The keeper: starts the node again when it dies, ends it when told, and shows no secret while it does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch import nodezip
from usernetes_deploy.node import control, verbs
from usernetes_deploy.node.folder import make
from usernetes_deploy.node.procfs import own_processes, start_time
from usernetes_deploy.node.rootlesskit import rootlesskit_argv

# Stands in for rootlesskit: keeps what it was given, and stays.
FAKE = """#!/bin/sh
echo "$@" >> {root}/argv
env > {root}/env
cat > {root}/stdin
echo $$ >> {root}/pids
exec sleep 60
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    (made / "bin").mkdir(parents=True)
    fake = made / "bin" / "rootlesskit"
    fake.write_text(FAKE.format(root=tmp_path))
    fake.chmod(0o755)
    return made


@pytest.fixture
def keep(tmp_path: Path, bundle: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the node program's ``run`` with a node in tmp_path/n; ended with the test."""
    made: list[subprocess.Popen[bytes]] = []

    program = nodezip.build(tmp_path / "program")

    def start(*words: str, verb: str = "run", **changes: Any) -> subprocess.Popen[bytes]:
        blob = config(tmp_path / "n", bundle=str(bundle), **changes).to_json()
        argv = [sys.executable, "-I", str(program), verb, *words]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        assert process.stdin
        process.stdin.write(blob)
        process.stdin.close()
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def until(holds: Callable[[], Any]) -> Any:
    ends = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return found


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def written(path: Path) -> dict[str, Any]:
    """The JSON document in a file; {} while it is not there, or not whole yet."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def test_a_node_that_dies_is_started_again_and_the_reason_is_written_down(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keeper = keep()
    first = int(until(lambda: lines(tmp_path / "pids"))[0])
    os.kill(first, signal.SIGKILL)
    until(lambda: len(lines(tmp_path / "pids")) == 2)
    found = until(lambda: written(tmp_path / "n" / "keeper.json"))
    assert found["restarts"] == 1
    assert found["lastExit"] == "killed by SIGKILL"
    assert (found["pid"], found["startTime"]) == (keeper.pid, start_time(keeper.pid))


def test_a_node_whose_user_space_nat_dies_is_started_again(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, bundle: Path
) -> None:
    shutil.copy("/bin/sleep", tmp_path / "slirp4netns")
    fake = bundle / "bin" / "rootlesskit"
    fake.write_text(
        fake.read_text().replace(
            "exec sleep 60", f"{tmp_path}/slirp4netns 60 & echo $! >> {tmp_path}/nat; exec sleep 60"
        )
    )
    keep()
    nat = int(until(lambda: lines(tmp_path / "nat"))[0])
    until(lambda: Path(f"/proc/{nat}/comm").read_text() == "slirp4netns\n")
    time.sleep(0.5)  # so that it has been found
    os.kill(nat, signal.SIGKILL)
    until(lambda: written(tmp_path / "n" / "keeper.json").get("restarts") == 1)
    assert written(tmp_path / "n" / "keeper.json")["lastExit"] == "slirp4netns ended"
    for left in lines(tmp_path / "nat"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(left), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_node_ends_with_its_keeper(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, number: signal.Signals
) -> None:
    keeper = keep()
    child = int(until(lambda: lines(tmp_path / "pids"))[0])
    keeper.send_signal(number)
    assert keeper.wait(10) == (0 if number != signal.SIGKILL else -9)
    until(lambda: start_time(child) is None)
    assert (tmp_path / "n" / "keeper.json").exists() == (number == signal.SIGKILL)


def of_a_job(keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> subprocess.Popen[bytes]:
    keeper = keep("--die-with-parent", f"--directory={tmp_path / 'n'}")
    until(lambda: lines(tmp_path / "pids"))
    return keeper


def test_a_node_of_a_job_is_gone_when_its_keeper_has_ended(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keeper = of_a_job(keep, tmp_path)
    os.killpg(keeper.pid, signal.SIGTERM)
    assert keeper.wait(20) == 0
    assert not (tmp_path / "n").exists()


def test_a_node_of_a_job_is_removed_though_its_keeper_had_no_time(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keeper = of_a_job(keep, tmp_path)
    os.killpg(keeper.pid, signal.SIGTERM)
    os.killpg(keeper.pid, signal.SIGKILL)
    until(lambda: not (tmp_path / "n").exists())


def test_who_stops_a_node_of_a_job_removes_it_alone(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keeper = of_a_job(keep, tmp_path)
    threading.Thread(target=keeper.wait, daemon=True).start()
    guards = list(own_processes(lambda argv: verbs._is_guard(argv, tmp_path / "n")))
    assert len(guards) == 1
    verbs.stop(tmp_path / "n", "rootlesskit")
    assert not (tmp_path / "n").exists()
    ends = time.monotonic() + 10  # killed processes are seen until the kernel has taken them down
    while left := [pid for pid in (*guards, keeper.pid) if start_time(pid)]:
        assert time.monotonic() < ends, left


def test_a_node_of_a_job_starts_where_nobody_can_watch_over_it(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"  # nothing else is written there: through a link it would hit the host's own
    programs.mkdir()
    for program in ("env", "cat", "sleep", "rm"):
        (programs / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(programs))
    keeper = of_a_job(keep, tmp_path)
    keeper.terminate()
    assert keeper.wait(20) == 0
    assert keeper.stderr
    assert b"may stay behind when the job ends: flock: No such file or directory" in keeper.stderr.read()


def test_a_keeper_that_waits_before_a_restart_ends_at_once(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, bundle: Path
) -> None:
    (bundle / "bin" / "rootlesskit").write_text("#!/bin/sh\nexit 3\n")
    keeper = keep()
    until(lambda: written(tmp_path / "n" / "keeper.json").get("restarts", 0) >= 4)
    began = time.monotonic()
    keeper.terminate()
    assert keeper.wait(20) == 0
    assert time.monotonic() - began < 1.5


def test_the_configuration_is_on_stdin_and_nowhere_else(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_TOKEN", "of-the-job")
    keep()
    until(lambda: lines(tmp_path / "pids"))
    assert json.loads((tmp_path / "stdin").read_text())["network"]["privateKey"] == "the-mesh-key"
    shown = (tmp_path / "argv").read_text() + (tmp_path / "env").read_text()
    assert "the-mesh-key" not in shown
    assert "the-ca-key" not in shown
    assert "of-the-job" not in shown
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "n").rglob("*") if path.is_file())
    assert b"the-mesh-key" not in on_disk
    assert b"the-ca-key" not in on_disk


def told(tmp_path: Path, request: dict[str, Any]) -> Any:
    return control.ask(tmp_path / "n" / control.KEEPER, {"verb": "remember", **request})


def test_a_node_that_is_started_again_begins_with_what_it_was_told_since(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keep()
    first = int(until(lambda: lines(tmp_path / "pids"))[0])
    until((tmp_path / "n" / control.KEEPER).exists)
    told(tmp_path, {"files": {"/etc/kubernetes/pki/ca.key": "the-next-key"}})
    told(tmp_path, {"network": {"backend": "mesh", "peers": ["node9"]}})
    os.kill(first, signal.SIGKILL)
    until(lambda: len(lines(tmp_path / "pids")) == 2)
    found = written(tmp_path / "stdin")
    assert found["files"] == {"/etc/kubernetes/pki/ca.key": "the-next-key"}
    assert found["network"] == {"backend": "mesh", "peers": ["node9"], "privateKey": "the-mesh-key"}


def test_a_keeper_takes_no_file_that_its_node_has_not(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keep()
    until((tmp_path / "n" / control.KEEPER).exists)
    with pytest.raises(UsernetesError, match="this node has no such file: /etc/passwd"):
        told(tmp_path, {"files": {"/etc/passwd": ""}})


@pytest.mark.parametrize("verb", ["run", "start"])
def test_pods_keep_all_cpus_whatever_the_systems_are(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, verb: str
) -> None:
    """`run` is what the local and Flux launchers call, `start` what SSH does."""
    there = os.sched_getaffinity(0)
    keep(verb=verb, system_cpus=str(min(there)))
    told = until(lambda: written(tmp_path / "stdin"))
    whole = len(there) == os.cpu_count()
    assert told["pod_cpus"] == ("" if whole else ",".join(map(str, sorted(there))))
    assert "USERNETES_POD_CPUS" not in (tmp_path / "env").read_text()
    verbs.stop(tmp_path / "n", "rootlesskit")


def test_a_second_start_is_told_that_a_node_is_already_running(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keep()
    until(lambda: lines(tmp_path / "pids"))
    second = keep(verb="start")
    assert second.wait(20) == 1
    assert second.stderr
    assert b"a node is already running in" in second.stderr.read()


def test_a_keeper_holds_no_folder_of_its_caller_busy(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    keeper = keep()
    until(lambda: lines(tmp_path / "pids"))
    assert Path(f"/proc/{keeper.pid}/cwd").readlink() == Path("/")


def test_two_keepers_do_not_share_a_folder(keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    keep()
    until(lambda: lines(tmp_path / "pids"))
    second = keep()
    assert second.wait(20) == 1
    assert second.stderr
    assert b"a node is already running in" in second.stderr.read()


def test_a_bundle_without_rootlesskit_is_named(keep: Callable[..., subprocess.Popen[bytes]], bundle: Path) -> None:
    (bundle / "bin" / "rootlesskit").unlink()
    keeper = keep()
    assert keeper.wait(20) == 1
    assert keeper.stderr
    said = keeper.stderr.read()
    assert b"rootlesskit" in said
    assert b"Traceback" not in said


def test_only_the_first_node_publishes_the_api(tmp_path: Path) -> None:
    first = rootlesskit_argv(config(tmp_path), ["python3", "node.pyz"])
    assert "--publish=0.0.0.0:23456:6443/tcp" in first
    assert first[-2:] == ["python3", "node.pyz"]
    worker = rootlesskit_argv(config(tmp_path, control_plane=False), [])
    assert not [word for word in worker if word.startswith("--publish")]


def test_cgroups_are_taken_over_only_when_delegated(tmp_path: Path) -> None:
    assert "--cgroupns" in rootlesskit_argv(config(tmp_path, cgroups="delegated"), [])
    assert "--cgroupns" not in rootlesskit_argv(config(tmp_path, cgroups="none"), [])


def test_a_folder_too_deep_for_unix_sockets_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsernetesError, match=r"(?s)too long for the unix sockets.*storage\.nodeDirectory"):
        make(config(tmp_path / ("x" * 100)))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsernetesError, match=r"node0: make .*/file/n"):
        make(config(tmp_path / "file" / "n"))


def test_nobody_else_may_look_into_the_folder(tmp_path: Path) -> None:
    make(config(tmp_path / "base" / "n"))
    assert (tmp_path / "base" / "n").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "base" / "n" / "logs").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_folder_prepared_by_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    os.chown(tmp_path / "base", 12345, 12345)
    with pytest.raises(UsernetesError, match="belongs to uid 12345"):
        make(config(tmp_path / "base" / "n"))


def test_a_node_is_held_to_the_systems_cpus_from_its_first_process_on(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    cpu = min(os.sched_getaffinity(0))
    keeper = keep(system_cpus=str(cpu))
    ends = time.monotonic() + 20
    while not (tmp_path / "pids").exists() and time.monotonic() < ends:
        time.sleep(0.02)
    child = int((tmp_path / "pids").read_text().split()[0])
    assert os.sched_getaffinity(keeper.pid) == os.sched_getaffinity(child) == {cpu}


def test_cpus_that_are_not_there_are_named_where_status_looks(
    keep: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    assert keep(system_cpus="1000").wait(20) == 1
    assert "systemCpus 1000: Invalid argument; there are" in (tmp_path / "n" / "logs" / "node.log").read_text()


# A main thread that is told to end again and again, by a process of its own: handlers interrupt one another.
STORM = """
import os, signal, subprocess, sys
from usernetes_deploy.node.config import NodeConfig
from usernetes_deploy.node.keeper import Keeper
keeper = Keeper(NodeConfig.from_json(sys.stdin.buffer.read()), [])
signal.signal(signal.SIGTERM, keeper._end)
kill = "import os, signal\\nfor _ in range(200000): os.kill(os.getppid(), signal.SIGTERM)"
sender = subprocess.Popen([sys.executable, "-c", kill])
while sender.poll() is None:
    keeper._ending.is_set()
print("went on")
"""


def test_being_told_to_end_while_being_told_to_end_blocks_nothing(tmp_path: Path) -> None:
    blob = config(tmp_path / "n").to_json()
    done = subprocess.run([sys.executable, "-c", STORM], input=blob, capture_output=True, timeout=20, check=False)
    assert done.stdout == b"went on\n", done.stderr
