"""The local launcher: real processes of this machine."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Launcher, on_all
from usernetes_deploy.launch.local import LocalLauncher
from usernetes_deploy.node.procfs import start_time


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(2, tmp_path / "node.pyz")
    yield launcher
    launcher.close()


def _wait_for(path: Path) -> str:
    ends = time.monotonic() + 5
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < ends, f"{path} did not come"
        time.sleep(0.01)
    return path.read_text()


def test_it_is_a_launcher_with_hosts_in_order(launcher: LocalLauncher) -> None:
    same: Launcher = launcher
    assert [host.name for host in same.hosts()] == ["node0", "node1"]
    assert same.hosts()[0].address == "127.0.0.1"


@pytest.mark.parametrize("count", [0, -1])
def test_a_cluster_without_nodes_is_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 node"):
        LocalLauncher(count, tmp_path)


def test_another_process_makes_it_again_from_its_state(launcher: LocalLauncher, tmp_path: Path) -> None:
    again = LocalLauncher.from_state(launcher.to_state(), tmp_path / "node.pyz")
    assert again.hosts() == launcher.hosts()
    assert again.node_program(again.hosts()[1]) == (sys.executable, str(tmp_path / "node.pyz"))


def test_run_feeds_stdin_and_gives_back_both_outputs_and_the_exit_code(launcher: LocalLauncher) -> None:
    done = launcher.run(launcher.hosts()[0], ["sh", "-c", "cat; echo no >&2; exit 7"], stdin="blob \u00e4".encode())
    assert (done.returncode, done.stdout, done.stderr) == (7, "blob \u00e4", "no\n")


def test_neither_a_command_nor_a_node_gets_what_it_does_not_need_of_our_environment(
    launcher: LocalLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "of-the-user")
    monkeypatch.setenv("SLURM_JOB_ID", "4121")
    host = launcher.hosts()[0]
    said = launcher.run(host, ["env"]).stdout
    handle = launcher.start(host, ["sh", "-c", f"env > {tmp_path}/env; echo >> {tmp_path}/env; sleep 60"], stdin=b"")
    try:
        _wait_for(tmp_path / "env")
        seen = Path(f"/proc/{handle['pid']}/environ").read_text().replace("\0", "\n")
    finally:
        os.kill(handle["pid"], signal.SIGKILL)
    for text in (said, seen):
        assert "of-the-user" not in text
        assert "SLURM_JOB_ID=4121\n" in text
        assert "HOME=" in text


def test_a_megabyte_goes_in_and_out_without_a_deadlock(launcher: LocalLauncher) -> None:
    blob = b"x" * (1 << 20)
    assert launcher.run(launcher.hosts()[0], ["cat"], stdin=blob).stdout == blob.decode()


def test_a_command_that_reads_nothing_does_not_fail_for_its_stdin(launcher: LocalLauncher) -> None:
    assert launcher.run(launcher.hosts()[0], ["true"], stdin=b"x" * (1 << 20)).returncode == 0


def test_a_missing_command_is_127_and_a_forbidden_one_126(launcher: LocalLauncher, tmp_path: Path) -> None:
    host = launcher.hosts()[0]
    assert launcher.run(host, ["no-such-command"]).returncode == 127
    (tmp_path / "plain").write_text("")
    assert launcher.run(host, [str(tmp_path / "plain")]).returncode == 126


def test_a_command_past_its_time_is_killed_with_its_children_and_named(launcher: LocalLauncher, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"node1: .*sleep.*not done after 0.3 s; it last said: hm") as caught:
        launcher.run(
            launcher.hosts()[1], ["sh", "-c", f"echo hm >&2; sleep 60 & echo $! > {pidfile}; wait"], timeout=0.3
        )
    assert caught.value.exit_code == 4
    assert time.monotonic() - began < 2
    _gone(int(pidfile.read_text()))


def test_a_child_that_left_the_group_and_holds_the_pipes_does_not_hold_us(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pidfile}; exec sleep 60' & sleep 60"
    began = time.monotonic()
    with pytest.raises(TimedOut):
        launcher.run(launcher.hosts()[0], ["sh", "-c", script], timeout=0.3)
    assert time.monotonic() - began < 3
    os.kill(int(pidfile.read_text()), signal.SIGKILL)


def test_close_ends_the_commands_under_way(launcher: LocalLauncher) -> None:
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(launcher.run(launcher.hosts()[0], ["sleep", "60"]).returncode)
    )
    thread.start()
    while not launcher._running:
        time.sleep(0.01)
    launcher.close()
    thread.join(5)
    assert codes == [-signal.SIGKILL]


def test_a_node_outlives_the_call_in_its_own_session_with_default_signals(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    script = (
        "import os, signal, sys, time\n"
        "blob = sys.stdin.buffer.read()\n"
        "print(len(blob), os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGINT) is signal.default_int_handler,\n"
        "      sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:3], os.readlink('/proc/self/fd/1'),\n"
        f"      [l for l in open('/proc/self/status') if l.startswith('SigIgn')], file=open({str(report)!r}, 'w'))\n"
        "time.sleep(60)"
    )
    handle = launcher.start(launcher.hosts()[0], [sys.executable, "-c", script], stdin=b"k" * 300_000)
    try:
        assert start_time(handle["pid"]) == handle["start_time"]
        words = _wait_for(report)
        assert words.startswith("300000 True True [0, 1, 2] /dev/null")
        ignored = int(words.split("\\t")[1].split("\\n")[0], 16)
        assert ignored & 0x7FFFFFFF == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)  # Python's own doing
    finally:
        os.kill(handle["pid"], signal.SIGKILL)
    _gone(handle["pid"])


def test_a_descriptor_left_open_in_the_driver_does_not_reach_the_node(launcher: LocalLauncher, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    handle = launcher.start(launcher.hosts()[0], ["sleep", "60"], stdin=b"")
    try:
        os.close(writer)
        assert os.read(reader, 1) == b"", "the node holds the pipe"
    finally:
        os.close(reader)
        os.kill(handle["pid"], signal.SIGKILL)


def test_a_node_program_that_is_not_there_is_an_error_with_its_command(launcher: LocalLauncher) -> None:
    with pytest.raises(UsernetesError, match=r"node0: /no/such run: /no/such: No such file"):
        launcher.start(launcher.hosts()[0], ["/no/such", "run"], stdin=b"")


def test_send_copies_whole_or_not_at_all(launcher: LocalLauncher, tmp_path: Path) -> None:
    host = launcher.hosts()[0]
    source = tmp_path / "a"
    source.write_text("hello")
    launcher.send(host, source, str(tmp_path / "sub" / "b"))
    assert (tmp_path / "sub" / "b").read_text() == "hello"
    launcher.send(host, source, str(source))
    with pytest.raises(UsernetesError, match=r"node0: copy .*: (Not a directory|File exists)"):
        launcher.send(host, source, str(source / "c"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "sub"]


def test_nodes_start_side_by_side(launcher: LocalLauncher) -> None:
    handles = on_all(
        launcher.hosts(), lambda host: launcher.start(host, ["sleep", "60"], stdin=host.name.encode())
    ).results
    for handle in handles.values():
        os.kill(handle["pid"], signal.SIGKILL)
    assert len({handle["pid"] for handle in handles.values()}) == 2


def _gone(pid: int) -> None:
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":  # its reaper is not us
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")
