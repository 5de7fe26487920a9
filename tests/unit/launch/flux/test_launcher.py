"""The Flux launcher against a `flux` that runs everything right here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.unit.launch.flux.flux_fake import FakeFlux, make_fake_flux
from usernetes_deploy.errors import CommandFailed, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Host
from usernetes_deploy.launch.flux.instance import Instance, Member
from usernetes_deploy.launch.flux.launcher import FluxLauncher, hosts_of
from usernetes_deploy.launch.flux.questions import ByCommand
from usernetes_deploy.waiting import until

URI = "local:///run/flux/local"
NODE = 'read -r word; echo "$word $1 $$" >"$0"; exec sleep 60'


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command with recorded answers."""
    return make_fake_flux(tmp_path / "bin")


@pytest.fixture
def launcher(fake: FakeFlux, tmp_path: Path) -> FluxLauncher:
    """A launcher over that command."""
    return make(fake, tmp_path)


def make(fake: FakeFlux, tmp_path: Path, **options: object) -> FluxLauncher:
    program = tmp_path / "node.pyz"
    program.write_text("print('node program')")
    asked = ByCommand(Instance(URI, flux=fake.path).command)
    return FluxLauncher(program, instance=Instance(URI, flux=fake.path, questions=asked), **options)  # type: ignore[arg-type]


def test_hosts_are_those_of_the_instance(launcher: FluxLauncher) -> None:
    assert [(host.name, host.where) for host in launcher.hosts()] == [("fl0", "0"), ("fl1", "1"), ("fl2", "2")]
    assert launcher.hosts()[0].labels == {"usernetes.dev/flux-cores": "2"}


def test_several_brokers_on_a_host_have_names_of_their_own() -> None:
    members = [Member(0, "vm", 2, 0), Member(1, "vm", 2, 0), Member(2, "Big_Node", 2, 4)]
    named = hosts_of(members)
    assert [host.name for host in named] == ["vm-0", "vm-1", "big-node"]
    assert named[2].labels["usernetes.dev/flux-gpus"] == "4"


def test_lost_hosts_are_left_out(fake: FakeFlux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usernetes_deploy.launch.flux.launcher.JOIN_SECONDS", 0.2)
    fake.answer("resource", "status", stdout="1\n")
    launcher = make(fake, tmp_path, count=2)
    assert [host.name for host in launcher.hosts()] == ["fl0", "fl2"]
    with pytest.raises(UsageError, match=r"3 nodes were asked for, the Flux instance has 2 \(1 more are lost\)"):
        make(fake, tmp_path, count=3).hosts()


def test_a_member_that_is_lost_later_is_named(launcher: FluxLauncher, fake: FakeFlux) -> None:
    launcher.hosts()
    fake.answer("overlay", "status", stdout="full\n")
    assert launcher.lost() == {}
    fake.answer("overlay", "status", stdout="degraded\n")
    fake.answer("resource", "status", stdout="2\n")
    assert launcher.lost() == {"fl2": "the Flux broker of rank 2 is lost"}


def test_hosts_of_a_join_job_that_has_ended_are_lost(launcher: FluxLauncher, fake: FakeFlux) -> None:
    launcher.take([Host("fl7", "", "local:///gone#0")])
    fake.answer("overlay", "status", stderr="flux-overlay: ERROR: unable to connect\n", code=1)
    with pytest.raises(UsernetesError):
        launcher.lost()
    launcher.release(["fl0", "fl1", "fl2"])
    assert launcher.lost() == {"fl7": "the Flux job that held its host has ended, or does not answer"}


def test_no_node_at_all_is_a_wrong_call(fake: FakeFlux, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 node, got 0"):
        make(fake, tmp_path, count=0)


def test_the_instance_of_another_user_is_refused(fake: FakeFlux, tmp_path: Path) -> None:
    fake.answer("getattr", "security.owner", stdout="64030\n")
    with pytest.raises(UsageError, match="belongs to another user") as caught:
        make(fake, tmp_path).hosts()
    assert "flux batch -N4" in str(caught.value)


def test_a_command_goes_to_its_rank_and_away_from_our_directory(launcher: FluxLauncher, fake: FakeFlux) -> None:
    done = launcher.run(launcher.hosts()[2], ["cat"], stdin=b"hello")
    assert done.stdout == "hello"
    assert fake.called_with("exec")["argv"] == ["exec", "-q", "-r", "2", "-d", "/", "--", "cat"]
    assert fake.called_with("exec")["uri"] == URI


def test_a_host_of_a_joined_job_is_reached_by_its_own_instance(launcher: FluxLauncher, fake: FakeFlux) -> None:
    other = Instance("ssh://elsewhere.example/tmp/f/local-0", flux=fake.path)
    found = launcher.hosts_of_job(Instance(other.uri, flux=fake.path, questions=ByCommand(other.command)))
    launcher.take(found[:1])
    assert launcher.hosts()[3].where == "ssh://fl0/tmp/flux-8YueC4/local-0#0"
    launcher.run(launcher.hosts()[3], ["true"])
    assert fake.called_with("exec")["uri"] == "ssh://fl0/tmp/flux-8YueC4/local-0"
    assert fake.called_with("exec")["argv"][3] == "0"
    launcher.release([found[0].name])
    assert [host.where for host in launcher.hosts()] == ["1", "2"]


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", -9), ("exit 200", 200)])
def test_exit_codes_and_signals(launcher: FluxLauncher, script: str, code: int) -> None:
    assert launcher.run(launcher.hosts()[0], ["sh", "-c", script]).returncode == code


def test_a_lost_broker_is_an_error_of_its_node(launcher: FluxLauncher, fake: FakeFlux) -> None:
    fake.answer("exec", stderr="flux-exec: Error: rank 1: cat: No route to host\n", code=68)
    with pytest.raises(UsernetesError, match=r"^fl1: the Flux broker of rank 1 is lost$"):
        launcher.run(launcher.hosts()[1], ["cat"])


def test_a_lost_instance_is_an_error(launcher: FluxLauncher, fake: FakeFlux) -> None:
    fake.answer("exec", stderr="flux-exec: flux_open: Connection refused\n", code=1)
    with pytest.raises(UsernetesError, match="flux_open: Connection refused"):
        launcher.run(launcher.hosts()[1], ["cat"])


def test_a_command_that_is_too_slow_is_ended(launcher: FluxLauncher) -> None:
    with pytest.raises(TimedOut, match=r"fl0: sleep 30: not done after 0.3 s"):
        launcher.run(launcher.hosts()[0], ["sleep", "30"], timeout=0.3)


def wait_for(path: Path) -> str:
    ends = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.parametrize("version", ["0.88.0", "0.78.0"])
def test_a_node_gets_its_blob_on_stdin_and_ends_with_its_parent(
    launcher: FluxLauncher, fake: FakeFlux, tmp_path: Path, version: str
) -> None:
    fake.answer("getattr", "version", stdout=f"{version}\n")
    said = tmp_path / "said"
    handle = launcher.start(launcher.hosts()[1], ["sh", "-c", NODE, str(said)], stdin=b"the-secret\n")
    word, flag, pid = wait_for(said).split()
    os.kill(int(pid), signal.SIGKILL)
    assert (word, flag) == ("the-secret", "--die-with-parent")
    assert handle["rank"] == 1
    assert (handle.get("pid") == int(pid)) == (version == "0.88.0")
    assert not any("the-secret" in word for call in fake.calls() for word in call["argv"])
    for client in launcher._executor._clients:
        client.wait(10)


def test_a_node_that_does_not_start_says_why(launcher: FluxLauncher) -> None:
    with pytest.raises(CommandFailed, match="no-such-program") as caught:
        launcher.start(launcher.hosts()[0], ["no-such-program"], stdin=b"x" * 300_000)
    assert caught.value.node == "fl0"
    assert "not found" in caught.value.output


def test_the_state_makes_the_same_launcher_again(launcher: FluxLauncher, fake: FakeFlux, tmp_path: Path) -> None:
    fake.answer("getattr", "jobid", stdout="ƒ2EqTrdbu\n")
    state = launcher.to_state()
    assert state["job"] == "ƒ2EqTrdbu"
    again = FluxLauncher.from_state(state, tmp_path / "node.pyz")
    assert again.instance.uri == "ssh://fl0/tmp/flux-8YueC4/local-0"
    assert list(again.hosts()) == list(launcher.hosts())


def test_with_an_old_flux_a_nodes_blob_is_in_memory_and_on_no_disk(fake: FakeFlux, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    launcher = FluxLauncher(tmp_path / "node.pyz", instance=fake.instance(), background=False)
    host = launcher.hosts()[0]
    launcher.start(host, ["sh", "-c", f"readlink /proc/self/fd/0 >{seen}; cat >>{seen}; :"], stdin=b"the blob")
    until(lambda: seen.exists() and "the blob" in seen.read_text(), 10, "the blob was read", pause=0.05)
    assert seen.read_text().startswith("/memfd:")
    for client in launcher._executor._clients:
        client.wait(10)
