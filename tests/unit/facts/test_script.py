"""The script runs for real on this machine, and its answers are split and read strictly."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from usernetes_deploy import facts
from usernetes_deploy.facts import NotUnderstood

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
ANSWER = (Path(__file__).parents[2] / "data/facts/debian-12-ready/answer.txt").read_text()


def ask(need: facts.Need, shell: str = "sh", **environment: str) -> str:
    argv = [shell, "sh", "-s"] if shell == "busybox" else [shell, "-s"]
    done = subprocess.run(
        argv,
        input=facts.script(need),
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | environment,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_this_machine_answers_every_question_in_every_shell(shell: str, tmp_path: Path) -> None:
    host = facts.read(ask(facts.Need(node_dir=str(tmp_path)), shell))
    assert host.user.uid == os.getuid()
    assert host.kernel.release == os.uname().release
    assert host.machine.cpus == len(os.sched_getaffinity(0))
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    assert host.sysctls.port_start == int(start)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    facts.read(ask(facts.Need(node_dir=str(tmp_path))))
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_named_with_its_owner() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = f"tcp/{taken.getsockname()[1]}"
        need = facts.Need(ports=(port,), address="127.0.0.1")
        host = facts.read(ask(need))
    assert [(one.name, one.error, one.owner) for one in host.ports.ports] == [(port, "EADDRINUSE", os.getuid())]
    assert f"port {port} is in use by uid {os.getuid()}" in [problem.what for problem in facts.judge(host, need)]


def test_a_directory_with_spaces_and_quotes_is_asked_for_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "it's a $(touch no) dir"
    odd.mkdir()
    host = facts.read(ask(facts.Need(node_dir=str(odd))))
    assert [one.path for one in host.node_disk.directories] == [str(odd)]
    assert list(odd.iterdir()) == []


def test_tmpdir_and_runtime_dir_are_candidates_once_each(tmp_path: Path) -> None:
    host = facts.read(ask(facts.Need(), TMPDIR="/tmp/", XDG_RUNTIME_DIR=str(tmp_path)))
    assert [one.path for one in host.node_disk.directories] == ["/var/tmp", "/tmp", str(tmp_path)]


def test_what_a_login_shell_prints_before_and_after_is_ignored() -> None:
    noisy = "Welcome!\n@usernetes news: maintenance on Monday\n" + ANSWER
    assert facts.read(noisy) == facts.read(ANSWER)


def test_an_answer_that_was_cut_short_is_an_error() -> None:
    with pytest.raises(NotUnderstood, match="cut short"):
        facts.read(ANSWER.replace("@usernetes 2210 end", ""))


def test_no_answer_at_all_is_an_error_that_quotes_what_came() -> None:
    with pytest.raises(NotUnderstood, match="This account is currently not available"):
        facts.read("This account is currently not available.\n")


def test_a_missing_fact_is_an_error() -> None:
    start, end = ANSWER.index("@usernetes 2210 tun"), ANSWER.index("@usernetes 2210 outer")
    with pytest.raises(NotUnderstood, match="answer to tun is missing"):
        facts.read(ANSWER[:start] + ANSWER[end:])


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("epoch=", "epoch=soon", "'epoch=soon"),
        ("try=works", "try=works\nwhat=ever", "user_namespaces is not understood: 'what=ever'"),
        ("uid=100000 65536", "uid=100000:65536", "subid is not understood: 'uid=100000:65536'"),
        ("mode=hybrid", "mode=v3", "cgroups is not understood: 'mode=v3'"),
        ("version=nftables v", "version=nft: no such option v", "nftables is not understood"),
        ("Max open files            ", "Max open files            many ", "limits is not understood: 'Max open files"),
        ("write=works\nrun", "run", "node_disk is without 'write'"),
        ("nameserver=192.0.2.53", "nameserver=dns.example", "resolver is not an address: 'nameserver=dns.example'"),
        ("    inet 192.0.2.13/24", "    inet 192.0.2.333/24", "interfaces is not understood: '.*192.0.2.333/24"),
        ("/dev/fuse=rw", "/dev/fuse: rw", "devices is not understood: '/dev/fuse: rw'"),
        ("ping_range=1 0", "ping_range=1", "sysctls is not understood: 'ping_range=1'"),
        ("total_kib=", "total_kib=x", "machine is not a number: 'total_kib=x"),
    ],
)
def test_a_line_that_is_not_understood_is_quoted(good: str, bad: str, message: str) -> None:
    assert good in ANSWER
    with pytest.raises(NotUnderstood, match=message):
        facts.read(ANSWER.replace(good, bad, 1))


def test_a_remedy_names_the_host_after_the_tag() -> None:
    host = facts.read(ANSWER.replace("uid=100000 65536\n", ""))
    problems = {problem.fact: problem.remedy for problem in facts.judge(host, facts.Need(), node="node07")}
    assert problems["subid"] == f"usernetes prepare --tags subid --user {host.user.name} --hosts node07"


@pytest.mark.parametrize("shell", SHELLS)
def test_globs_of_device_files_are_expanded_where_they_are_and_stay_words(shell: str, tmp_path: Path) -> None:
    (tmp_path / "d0").symlink_to("/dev/null")
    (tmp_path / "d1").write_text("")
    need = facts.Need(devices=(f"{tmp_path}/d*", "/dev/no*such", "/dev/$(touch no)", "cdi:example.com/gpu=0"))
    wanted = facts.read(ask(need, shell)).devices.wanted
    assert wanted[f"{tmp_path}/d0"] == "fine"
    assert wanted[f"{tmp_path}/d1"] == "file"
    assert wanted["/dev/no*such"] == "nothing"
    assert not any(path.startswith("cdi:") for path in wanted)
