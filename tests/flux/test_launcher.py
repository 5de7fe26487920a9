"""The Flux launcher on a real instance: from inside a member host, and from the login host over SSH."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.flux.instance import Instance
from tests.flux.machines import processes_on, wait_until

PRELUDE = """
import json, os, sys, threading, time
from pathlib import Path
from usernetes_deploy.errors import *
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.launch.flux.launcher import FluxLauncher
from usernetes_deploy.launch.flux.instance import *
program = Path("/tmp/a program ü.pyz")
program.write_text("import sys; print(sys.argv[1:], len(sys.stdin.read()))")
launcher = FluxLauncher(program)
hosts = launcher.hosts()
def answer(value): print("ANSWER", json.dumps(value))
def error(call):
    try: call()
    except UsernetesError as error: return [type(error).__name__, str(error)]
    return None
"""


def ask(instance: Instance, code: str, at: str | None = None) -> Any:
    """Run `code` as the user, with `launcher` at hand; return what it passes to ``answer``."""
    printed = instance.ask("python", "-W", "error", "-c", PRELUDE + code, at=at)
    return json.loads(printed.rpartition("ANSWER ")[2])


@pytest.fixture(params=["on a member", "from the login host"])
def at(request: pytest.FixtureRequest, instance: Instance) -> str:
    """Where the launcher runs: beside rank 0, or on a host without a broker."""
    return instance.members[0] if request.param == "on a member" else instance.login


def test_the_hosts_are_the_members_in_the_order_of_their_ranks(instance: Instance) -> None:
    found = ask(instance, "answer([[h.name, h.where, dict(h.labels)] for h in hosts])")
    assert [entry[:2] for entry in found] == [["fl0", "0"], ["fl1", "1"], ["fl2", "2"]]
    assert int(found[0][2]["usernetes.dev/flux-cores"]) >= 1


def test_a_command_runs_on_its_host_with_its_input(instance: Instance, at: str) -> None:
    code = """
answer(dict(on_all(hosts, lambda h: launcher.run(h, ["sh", "-c", "cat; hostname"], stdin=b"ab ").stdout).results))
"""
    assert ask(instance, code, at) == {"fl0": "ab fl0\n", "fl1": "ab fl1\n", "fl2": "ab fl2\n"}


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], -9), (["no-such-command"], 127), (["printf", "a b"], 0)],
)
def test_the_exit_code_is_the_commands_own(instance: Instance, argv: list[str], code: int) -> None:
    assert ask(instance, f"answer(launcher.run(hosts[1], {argv!r}).returncode)") == code


def test_a_command_that_is_too_slow_is_ended_over_there(instance: Instance) -> None:
    said = ask(instance, "answer(error(lambda: launcher.run(hosts[1], ['sleep', '4321'], timeout=0.5)))")
    assert said == ["TimedOut", "fl1: sleep 4321: not done after 0.5 s"]
    wait_until(lambda: not any("4321" in command for command in processes_on("fl1").values()), "the end of sleep", 5)


def test_the_node_program_is_put_on_a_host_that_does_not_have_it(instance: Instance, at: str) -> None:
    code = """
program = launcher.node_program(hosts[2])
answer([program, launcher.run(hosts[2], [*program, "a b", "ü"], stdin=b"x" * 300_000).stdout])
"""
    program, printed = ask(instance, code, at)
    assert program[0].startswith("/")
    assert printed == "['a b', 'ü'] 300000\n"
    stored = instance.ask("stat", "-c", "%a %U", program[1].rpartition("/")[0], at="fl2")
    assert stored == "700 hpcfl"


def test_a_file_arrives_whole_on_every_host(instance: Instance, at: str) -> None:
    code = """
file = Path("/tmp/some file ü"); file.write_bytes(os.urandom(3_000_000))
for host in hosts: launcher.send(host, file, "/tmp/in a folder/of mine ü")
launcher.close()
import hashlib
sums = {launcher.run(h, ["sha256sum", "/tmp/in a folder/of mine ü"]).stdout.split()[0] for h in hosts}
left = launcher.run(hosts[1], ["ls", "-A", "/tmp/in a folder"]).stdout
answer([sums == {hashlib.sha256(file.read_bytes()).hexdigest()}, left, launcher.instance.command("kvs", "ls")])
"""
    same, left, stored = ask(instance, code, at)
    assert same
    assert left == "of mine ü\n"
    assert "archive" not in stored or "archive." not in instance.ask("flux", "kvs", "ls", "archive.")


def test_a_file_is_not_copied_onto_itself(instance: Instance) -> None:
    code = """
file = Path("/tmp/same"); file.write_text("x"); before = file.stat().st_ino
launcher.send(hosts[0], file, "/tmp/same"); answer(file.stat().st_ino == before)
"""
    assert ask(instance, code, "fl0")


NODE = "echo $$ >/tmp/node.pid; wc -c >/tmp/node.bytes; exec sleep 7654"


@pytest.mark.parametrize("background", [True, False])
def test_a_node_reads_its_blob_and_outlives_the_driver(instance: Instance, at: str, background: bool) -> None:
    instance.ask("rm", "-f", "/tmp/node.bytes", at="fl1")
    code = f"""
launcher._background = {background}
started = launcher.start(hosts[1], ["sh", "-c", {NODE!r}], stdin=b"z" * 300_000)
time.sleep(0.3)
answer(started)
"""
    handle = ask(instance, code, at)
    assert handle["rank"] == 1
    if background:
        assert instance.ask("cat", "/tmp/node.bytes", at="fl1") == "300000"
        assert str(handle["pid"]) == instance.ask("cat", "/tmp/node.pid", at="fl1")
    running = [pid for pid, command in processes_on("fl1").items() if command.startswith("sleep 7654")]
    assert len(running) == 1
    assert not instance.run(["sh", "-c", "ls -d /tmp/usernetes-*"], at="fl1").stdout
    instance.ask("kill", str(running[0]), at="fl1")
    wait_until(lambda: not any("7654" in command for command in processes_on("fl1").values()), "the node's end")


def test_no_command_line_and_no_environment_holds_the_blob(instance: Instance) -> None:
    code = """
secret = b"terces-si-siht"[::-1]  # the hosts share their process table, and this text is on a command line
launcher.start(hosts[1], ["sh", "-c", "cat >/dev/null; exec sleep 7655"], stdin=secret)
look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\\\0' ' '"
seen = launcher.run(hosts[1], ["sh", "-c", look]).stdout
answer([secret.decode() in seen, "sleep 7655" in seen])
"""
    assert ask(instance, code) == [False, True]
    for pid, command in processes_on("fl1").items():
        if "7655" in command:
            instance.ask("kill", str(pid), at="fl1")


def test_a_node_that_cannot_start_says_why(instance: Instance) -> None:
    said = ask(instance, "answer(error(lambda: launcher.start(hosts[1], ['no-such-program'], stdin=b'x' * 300_000)))")
    assert said[0] == "CommandFailed"
    assert "fl1" in said[1]
    assert "no-such-program: not found" in said[1]


def test_the_launcher_is_made_again_from_its_state(instance: Instance, at: str) -> None:
    state = ask(instance, "answer(launcher.to_state())", at)
    assert state["uri"].startswith("ssh://fl0/")
    code = f"""
again = FluxLauncher.from_state({state!r}, program)
answer([h.name for h in again.hosts()] + [again.run(again.hosts()[2], ["hostname"]).stdout, again.to_state()["uri"]])
"""
    assert ask(instance, code, at) == ["fl0", "fl1", "fl2", "fl2\n", state["uri"]]


def test_more_nodes_than_the_instance_has_are_refused(instance: Instance) -> None:
    kind, text = ask(instance, "answer(error(lambda: FluxLauncher(program, count=9).hosts()))")
    assert kind == "UsageError"
    assert text.startswith("9 nodes were asked for, the Flux instance has 3")


def test_what_is_not_taken_is_spare(instance: Instance) -> None:
    assert ask(instance, "answer([h.name for h in FluxLauncher(program, count=2).spare_hosts()])") == ["fl2"]


def test_a_host_that_is_not_in_the_instance_is_refused(instance: Instance) -> None:
    kind, text = ask(instance, "answer(error(lambda: launcher.run(Host('fl9', where='77'), ['true'])))")
    assert kind == "UsernetesError"
    assert text == "fl9: flux exec: One or more invalid --ranks specified: 77"


def test_flux_that_is_not_there_is_said(instance: Instance) -> None:
    code = "answer(error(lambda: FluxLauncher(program, instance=Instance('local:///nowhere')).hosts()))"
    kind, text = ask(instance, code)
    assert kind in ("CommandFailed", "UsernetesError")
    assert "/nowhere" in text
