"""Clusters over SSH on three test hosts: up, seen from another terminal, grown, taken down; and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts.sshd import STATE, UID, USER, SshHost, call, ssh_hosts, testhosts
from tests.users import group_of
from usernetes_deploy.bundle import locate
from usernetes_deploy.changes.bringup import UP
from usernetes_deploy.commands.common import bundle_cache
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.phases.stage_bundle import packed

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(os.geteuid() != 0, reason="test hosts need root")]
REPOSITORY = Path(__file__).parents[2]
BASE = f"/var/tmp/usernetes-{UID}"
PHASES = [phase.title for phase in UP]


@dataclass(frozen=True)
class Terminal:
    """A login of the test user on this machine, from where the hosts are reached."""

    home: Path
    python: str
    bundle: Path

    def argv(self, *words: str, state: str = "") -> list[str]:
        """The argv of ``usernetes WORDS`` with nothing of our own environment; `state`: another's XDG_STATE_HOME."""
        variables = {
            **({"XDG_STATE_HOME": state} if state else {}),
            "HOME": str(self.home), "USER": USER, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        become = ["setpriv", f"--reuid={UID}", f"--regid={group_of(UID)}", "--clear-groups", "--", "env", "-i"]
        pairs = [f"{key}={value}" for key, value in variables.items()]
        return [*become, *pairs, self.python, "-m", "usernetes_deploy.cli", *words]

    def usernetes(self, *words: str, timeout: float = 240, state: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``usernetes WORDS`` to its end."""
        return subprocess.run(
            self.argv(*words, state=state), capture_output=True, text=True, timeout=timeout, cwd="/", check=False
        )

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``usernetes up`` with the bundle of the tests."""
        return self.usernetes("up", "--bundle", str(self.bundle), *words)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[SshHost]]:
    with ssh_hosts(3) as made:
        yield made


@pytest.fixture(scope="module")
def terminal(hosts: list[SshHost], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    wanted = os.environ.get("USERNETES_TEST_BUNDLE")
    try:
        bundle = locate(Path(wanted) if wanted else None, bundle_cache())
    except UsernetesError as error:
        pytest.skip(f"no bundle: {error}")
    # Beside the bundle, once for all runs; the test user could not write there.
    packed(bundle, tmp_path_factory.mktemp("archive")).chmod(0o644)
    python = os.environ.get("USERNETES_TEST_PYTHON", sys.executable)
    become = ["setpriv", f"--reuid={UID}", f"--regid={group_of(UID)}", "--clear-groups", "--"]
    imports = subprocess.run([*become, python, "-c", "import paramiko, invoke"], check=False, cwd="/")
    if imports.returncode:
        pytest.skip(f"{python} cannot be run by the test user (set USERNETES_TEST_PYTHON)")
    home = Path(f"/var/lib/usernetes-test-{USER}")
    shutil.rmtree(home, ignore_errors=True)
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text("")
    call("chown", "-R", f"{UID}:{UID}", home)
    # ssh takes the home from the password file, whatever HOME says.
    real = Path(f"/home/{USER}/.ssh")
    real.mkdir(mode=0o700, exist_ok=True)
    (real / "config").write_text(f"Include {STATE}/ssh_config\n")
    call("chown", "-R", f"{UID}:{UID}", real)
    yield Terminal(home, python, bundle.root)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _nothing_is_left(terminal: Terminal, hosts: list[SshHost]) -> Iterator[None]:
    yield
    for host in hosts:
        host.link("up")
    if not any("sshd" in text for text in _processes("sh0", "sshd")):
        hosts[0].start()
    for name in [item["name"] for item in json.loads(terminal.usernetes("list", "--json").stdout)]:
        terminal.usernetes("down", "--cluster", name)


def _processes(host: str, *but: str) -> list[str]:
    """Command names of what runs on a host, sshd and what it serves aside."""
    found = []
    for pid in call("ip", "netns", "pids", host).split():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(name)
        except OSError:
            continue
    return [name for name in found if name != "sshd" or "sshd" in but]


def _left(hosts: list[SshHost]) -> dict[str, list[str]]:
    """What a cluster left on the hosts: processes and node folders; the staged bundle and program may stay."""
    left: dict[str, list[str]] = {}
    for host in hosts:
        folder = host.own / "var-tmp" / f"usernetes-{UID}"
        inside = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        found = [*_processes(host.name), *(name for name in inside if name not in ("bundle", "program"))]
        if found:
            left[host.name] = found
    return left


def _wait_until_nothing_is_left(hosts: list[SshHost], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while _left(hosts):
        assert time.monotonic() < ends, _left(hosts)
        time.sleep(0.1)


def test_a_cluster_comes_up_is_seen_from_another_terminal_grows_and_goes_without_a_trace(
    terminal: Terminal, hosts: list[SshHost]
) -> None:
    done = terminal.up("--hosts", "sh[0-1]", "--cluster", "one")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).stat().st_mode & 0o777 == 0o600
    assert "2 pods answer by name" in done.stderr
    status = json.loads(terminal.usernetes("status", "--json").stdout)
    assert status["launcher"] == "ssh"
    assert [(node["name"], node["ready"]) for node in status["nodes"]] == [("sh0", True), ("sh1", True)]
    # Not one connection is needed for the cluster to live.
    for host in hosts:
        host.start()
    added = terminal.usernetes("add", "--hosts", "sh2")
    assert (added.stdout, added.returncode) == ("sh2\n", 0), added.stderr
    nodes = terminal.usernetes("kubectl", "get", "nodes", "--no-headers").stdout
    assert [line.split()[:2] for line in nodes.splitlines()] == [[f"sh{i}", "Ready"] for i in range(3)]
    logs = terminal.usernetes("logs", "--node", "sh2")
    assert logs.returncode == 0, logs.stderr
    assert "kubelet" in logs.stdout
    began = time.monotonic()
    down = terminal.usernetes("down")
    assert (down.returncode, down.stdout) == (0, ""), down.stderr
    assert time.monotonic() - began < 20
    _wait_until_nothing_is_left(hosts)
    assert terminal.usernetes("down", "--cluster", "one").returncode == 0


def test_an_inventory_names_the_hosts(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> None:
    inventory = terminal.home / "hosts.ini"
    lines = [f"sh{i} ansible_host=10.74.0.{10 + i} ansible_user={USER}\n" for i in range(3)]
    key = f"ansible_ssh_private_key_file={STATE}/ssh/user_ed25519\n"
    known = f"ansible_ssh_common_args='-o UserKnownHostsFile={STATE}/known_hosts'\n"
    inventory.write_text("[beds]\n" + "".join(lines) + "[beds:vars]\n" + key + known)
    done = terminal.usernetes("check", "--hosts", str(inventory), "--limit", "beds:!sh1")
    assert (done.stdout.splitlines()[0], done.returncode) == ("2 hosts are fit", 0), done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--hosts", ""], 2, "needs at least one host"),
        (["--hosts", "sh[0-1],sh1"], 2, "names a host more than once: sh1 (2 times)"),
        (["--hosts", "/nowhere/hosts.yaml"], 2, "there is no host file /nowhere/hosts.yaml"),
        (["--hosts", "sh[1-0]"], 2, "runs backwards"),
        (["--hosts", "sh[0-1]", "--nodes", "3"], 2, "3 nodes were asked for, the ssh launcher has 2 hosts"),
        (["--hosts", "sh0", "--limit", "x"], 2, "needs an Ansible inventory"),
        (["--hosts", "sh0,no-such-host.invalid"], 1, "no-such-host: connect to no-such-host.invalid:22: the name"),
    ],
)
def test_a_wrong_call_says_so_and_changes_nothing(terminal: Terminal, words: list[str], code: int, says: str) -> None:
    done = terminal.up(*words, "--launcher", "ssh")
    assert says in done.stderr
    assert (done.returncode, done.stdout) == (code, "")
    assert json.loads(terminal.usernetes("list", "--json").stdout) == []


def test_a_host_that_is_down_is_named_or_done_without(terminal: Terminal, hosts: list[SshHost]) -> None:
    hosts[2].link("down")
    done = terminal.up("--hosts", "sh[0-2]", "--set", "waitSeconds=60")
    assert done.returncode in (1, 4)
    assert "sh2: " in done.stderr
    assert "sh1: " not in done.stderr
    assert _left(hosts) == {}
    done = terminal.up("--hosts", "sh[0-2]", "--min-nodes", "2", "--set", "waitSeconds=150")
    assert done.returncode == 0, done.stderr
    status = json.loads(terminal.usernetes("status", "--json").stdout)
    assert "sh2" in status["givenUp"]
    assert [node["name"] for node in status["nodes"] if node["ready"]] == ["sh0", "sh1"]


def test_a_host_lost_under_a_running_cluster_is_told_by_status_and_does_not_keep_down_from_the_others(
    terminal: Terminal, hosts: list[SshHost]
) -> None:
    assert terminal.up("--hosts", "sh[0-2]", "--no-wait").returncode == 0
    hosts[2].link("down")
    status = json.loads(terminal.usernetes("status", "--json").stdout)
    assert status["healthy"] is False
    lost = next(node for node in status["nodes"] if node["name"] == "sh2")
    assert lost["alive"] is False
    down = terminal.usernetes("down")
    assert down.returncode in (1, 4)
    assert "sh2: " in down.stderr
    assert _left(hosts[:2]) == {}
    hosts[2].link("up")
    assert terminal.usernetes("down").returncode == 0
    _wait_until_nothing_is_left(hosts)


def test_every_host_says_why_it_cannot_be_reached_and_nothing_is_begun_on_any(
    terminal: Terminal, hosts: list[SshHost]
) -> None:
    key = hosts[0].own / "ssh_host_ed25519_key"
    kept = key.read_bytes()
    hosts[0].new_key()
    hosts[0].start()
    hosts[1].start(AuthorizedKeysFile="none")
    hosts[2].start(AuthorizedKeysFile="none", PasswordAuthentication="yes")
    try:
        done = terminal.up("--hosts", "sh[0-2]", "--accept-new")
        assert done.returncode == 1
        assert "sh0: host key: the host key changed" in done.stderr
        assert "sh1: log in: hpcsh is not let in; refused: " in done.stderr
        assert "it would ask for a password, which usernetes does not type" in done.stderr
        assert done.stderr.count("fix: ssh-copy-id hpcsh@10.74.0.1") == 2
        assert _left(hosts) == {}
    finally:
        key.write_bytes(kept)
        for host in hosts:
            host.start()


def test_a_full_disk_is_said_before_anything_is_started(terminal: Terminal, hosts: list[SshHost]) -> None:
    for place in ("/var/tmp", "/tmp"):
        hosts[1].inside("mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "none", place)
    try:
        done = terminal.up("--hosts", "sh[0-1]")
        assert done.returncode == 3, done.stderr
        assert "sh1: " in done.stderr
        assert "sh0: " not in done.stderr
    finally:
        for place in ("/var/tmp", "/tmp"):
            hosts[1].inside("umount", "-l", place)
    assert _left(hosts) == {}


def test_a_login_shell_that_prints_and_an_absent_sudo_do_not_matter(terminal: Terminal, hosts: list[SshHost]) -> None:
    files = [host.own / "home" / ".bashrc" for host in hosts[:2]]
    before = [file.read_text() for file in files]
    for file in files:
        file.write_text("echo Welcome; echo 'quota: 97%' >&2; sudo() { echo no sudo here; exit 1; }; sleep 0.2\n")
    try:
        done = terminal.up("--hosts", "sh[0-1]")
        assert done.returncode == 0, done.stderr
        assert json.loads(terminal.usernetes("status", "--json").stdout)["healthy"] is True
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)


def test_a_host_that_is_lost_is_removed_by_force_and_comes_back(terminal: Terminal, hosts: list[SshHost]) -> None:
    assert terminal.up("--hosts", "sh[0-2]", "--no-wait").returncode == 0
    record = json.loads((terminal.home / ".local/state/usernetes/default/cluster.json").read_text())
    for node in record["members"]:
        assert node["handle"]["directory"] == node["directory"]
        assert f"--directory={node['directory']}" in Path(f"/proc/{node['handle']['pid']}/cmdline").read_text()
    testhosts("kill", "sh1")  # as a power cut does
    hosts[2].link("down")
    refused = terminal.usernetes("remove", "sh1")
    assert refused.returncode == 1
    assert "sh1: it cannot be drained: " in refused.stderr
    assert "fix: usernetes remove sh1 --force" in refused.stderr
    began = time.monotonic()
    forced = terminal.usernetes("remove", "sh1,sh2", "--force")
    assert forced.returncode == 0, forced.stderr
    assert time.monotonic() - began < 60
    assert "sh1, sh2 left; 1 nodes stay" in forced.stderr
    assert f"{BASE}/{record['id']}-2 may still be there" in forced.stderr
    status = json.loads(terminal.usernetes("status", "--json").stdout)
    assert [node["name"] for node in status["nodes"]] == ["sh0"]
    assert status["healthy"] is True
    assert [(loss["node"], loss["action"]) for loss in status["losses"]] == [("sh1", "dismissed"), ("sh2", "dismissed")]
    assert status["nodes"][0]["network"]["peers"] == []
    assert terminal.usernetes("kubectl", "get", "nodes", "--output=name").stdout == "node/sh0\n"
    assert "lost: sh2 at " in terminal.usernetes("status").stdout
    # The one that was cut off still has its node, which nobody takes a packet of; it is ended before another begins.
    hosts[2].link("up")
    assert "rootlesskit" in _processes("sh2")
    added = terminal.usernetes("add", "--hosts", "sh2")
    assert (added.stdout, added.returncode) == ("sh2\n", 0), added.stderr
    assert json.loads(terminal.usernetes("status", "--json").stdout)["healthy"] is True
    twice = terminal.usernetes("add", "--hosts", "sh[1-2]")
    assert twice.returncode == 2
    assert "already names of nodes: sh2" in twice.stderr
    # The one without power is tried again by `down`, which does not fail while it is off.
    down = terminal.usernetes("down")
    assert down.returncode == 0, down.stderr
    assert "warning: sh1, removed by force, may still have its node" in down.stderr
    hosts[1].start()
    found = terminal.usernetes("down", "--hosts", "sh[0-2]")
    assert found.returncode == 0, found.stderr
    assert "1 node stopped, nothing left" in found.stderr
    _wait_until_nothing_is_left(hosts)


@pytest.mark.parametrize("phase", PHASES)
def test_a_driver_killed_in_any_phase_leaves_what_down_removes_here_and_from_another_login(
    terminal: Terminal, hosts: list[SshHost], phase: str
) -> None:
    argv = terminal.argv("up", "--bundle", str(terminal.bundle), "--hosts", "sh[0-1]", "--cluster", "killed")
    number = PHASES.index(phase)
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd="/") as driver:
        assert driver.stderr is not None
        seen = ""
        # Killed a moment into the phase: as soon as the one before it is reported done.
        while number and f"[{number:2}/" not in seen:
            line = driver.stderr.readline()
            assert line, seen
            seen += line
        time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    elsewhere = terminal.usernetes("down", "--hosts", "sh[0-1]", "--cluster", "killed", state="/nowhere")
    assert elsewhere.returncode == 0, elsewhere.stderr
    _wait_until_nothing_is_left(hosts)
    down = terminal.usernetes("down", "--cluster", "killed")
    assert down.returncode == 0, down.stderr
    assert json.loads(terminal.usernetes("list", "--json").stdout) == []


def test_a_connection_cut_in_the_middle_of_up_is_said_and_cleaned(terminal: Terminal, hosts: list[SshHost]) -> None:
    argv = terminal.argv("up", "--bundle", str(terminal.bundle), "--hosts", "sh[0-1]", "--set", "waitSeconds=40")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd="/") as driver:
        assert driver.stderr is not None
        seen = ""
        while "start the nodes" not in seen:
            line = driver.stderr.readline()
            assert line, seen
            seen += line
        hosts[1].stop()
        seen += driver.stderr.read()
    # Its node lives on and joins: only a driver that has to ask it would notice.
    hosts[1].start()
    if driver.returncode == 0:
        assert json.loads(terminal.usernetes("status", "--json").stdout)["healthy"] is True
    else:
        assert "sh1: " in seen
    down = terminal.usernetes("down", "--cluster", "default")
    assert down.returncode == 0, down.stderr
    _wait_until_nothing_is_left(hosts)
