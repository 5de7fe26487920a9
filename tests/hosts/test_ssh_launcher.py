"""The SSH launcher against real sshd: what works, and every fault with its reason and remedy."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts.sshd import UID, USER, SshHost, client_files, ssh_hosts
from usernetes_deploy.errors import CommandFailed, HostNotFit, NodeFailures, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.launch.hostlist import Target, load
from usernetes_deploy.launch.ssh.launcher import SshLauncher

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(os.geteuid() != 0, reason="test hosts need root")]

Make = Callable[..., SshLauncher]

# A node program that does what the real one does at `start`: goes its own way, and says who it is.
PROGRAM = """
import json, os, sys, time
blob = sys.stdin.buffer.read()
if sys.argv[1] == "start":
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(writer, json.dumps({"pid": pid, "blob": len(blob)}).encode())
            os._exit(0)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        time.sleep(120)
        os._exit(0)
    os.wait()
    print(os.read(reader, 1000).decode())
else:
    print(sys.argv[1:], len(blob))
"""


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[SshHost]]]:
    path = tmp_path_factory.mktemp("ssh")
    with zipfile.ZipFile(path / "node.pyz", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    with ssh_hosts(3) as hosts:
        for host in hosts:
            host.start()
        yield path, hosts


@pytest.fixture
def make(bed: tuple[Path, list[SshHost]]) -> Iterator[Make]:
    path, hosts = bed
    client_files(path, hosts)
    made: list[SshLauncher] = []

    class Here(SshLauncher):
        def __init__(self, targets: str | list[Target] = "sh[0-2]", **options: bool) -> None:
            listed = load(targets) if isinstance(targets, str) else targets
            super().__init__(listed, path / "node.pyz", config=path / "config", **options)
            made.append(self)

    yield Here
    for launcher in made:
        launcher.close()


@pytest.fixture
def home(bed: tuple[Path, list[SshHost]]) -> Iterator[Path]:
    """The user's home on the first host, whose start-up files and login shell are put back afterwards."""
    first = bed[1][0]
    path = first.own / "home"
    saved = path / ".bashrc"
    before = saved.read_bytes()
    yield path
    first.inside("usermod", "-s", "/bin/bash", USER)
    saved.write_bytes(before)


@pytest.fixture
def host(bed: tuple[Path, list[SshHost]]) -> Iterator[SshHost]:
    """The second host, which is as before afterwards."""
    second = bed[1][1]
    yield second
    second.link("up")
    second.start()


def test_all_hosts_answer_side_by_side_in_their_order(make: Make) -> None:
    launcher = make()
    launcher.connect()
    outcome = on_all(launcher.hosts(), lambda host: launcher.run(host, ["hostname"]).check().stdout.strip()).check()
    assert outcome.results == {"sh0": "sh0", "sh1": "sh1", "sh2": "sh2"}


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh", "/bin/tcsh"])
def test_every_argument_arrives_unharmed_through_any_login_shell(
    make: Make, bed: tuple[Path, list[SshHost]], home: Path, shell: str
) -> None:
    if not Path(shell).exists():
        pytest.skip(f"{shell} is not installed")
    bed[1][0].inside("usermod", "-s", shell, USER)
    words = ["a b", "", "'\"`$HOME`", "$(id)", "!x", "new\nline\n", "ümläut", "\\n%s\\", "*", "~", "-n", "{a,b}"]
    show = "import json,sys; print(json.dumps(sys.argv[1:])); sys.exit(9)"
    launcher = make()
    done = launcher.run(launcher.hosts()[0], ["python3", "-c", show, *words])
    assert json.loads(done.stdout) == words
    assert (done.returncode, done.stderr) == (9, "")


def test_a_login_shell_that_prints_does_not_spoil_the_answer(make: Make, home: Path) -> None:
    (home / ".bashrc").write_text("echo Welcome to the machine; echo quota exceeded >&2; printf 'no newline'\n")
    launcher = make()
    done = launcher.run(launcher.hosts()[0], ["sh", "-c", "cat; echo err >&2"], stdin=b"answer")
    assert (done.stdout, done.stderr, done.returncode) == ("answer", "err\n", 0)


def test_a_login_shell_that_is_too_slow_is_named_as_the_reason(make: Make, home: Path) -> None:
    (home / ".bashrc").write_text("sleep 1.5\n")
    launcher = make()
    sh0 = launcher.hosts()[0]
    with pytest.raises(TimedOut, match=r"sh0: true: its login shell has not come to the command after 0.5 s\n.*bashrc"):
        launcher.run(sh0, ["true"], timeout=0.5)
    assert launcher.run(sh0, ["true"], timeout=10).returncode == 0


def test_an_account_without_a_shell_is_told_from_a_failing_command(
    make: Make, bed: tuple[Path, list[SshHost]], home: Path
) -> None:
    bed[1][0].inside("usermod", "-s", "/usr/sbin/nologin", USER)
    launcher = make()
    with pytest.raises(UsernetesError, match=r"sh0: true: the login shell did not run it; it said: This account is"):
        launcher.run(launcher.hosts()[0], ["true"])


def test_exit_codes_and_signals_are_those_of_the_command(make: Make) -> None:
    launcher = make()
    host = launcher.hosts()[0]
    assert launcher.run(host, ["sh", "-c", "exit 255"]).returncode == 255
    assert launcher.run(host, ["sh", "-c", "kill -9 $$"]).returncode == -9
    assert launcher.run(host, ["no-such-command"]).returncode == 127


def test_megabytes_go_both_ways_at_once(make: Make) -> None:
    blob = os.urandom(1 << 20) * 8
    launcher = make()
    done = launcher.run(launcher.hosts()[0], ["base64", "-w0"], stdin=blob)
    assert len(done.stdout) == (len(blob) + 2) // 3 * 4
    assert launcher.run(launcher.hosts()[0], ["true"], stdin=blob).returncode == 0


def test_a_child_left_behind_does_not_hold_the_call(make: Make) -> None:
    launcher = make()
    began = time.monotonic()
    done = launcher.run(launcher.hosts()[0], ["sh", "-c", "sleep 5 & echo done"])
    assert done.stdout == "done\n"
    assert time.monotonic() - began < 3


def test_a_command_past_its_time_ends_here_and_there(make: Make) -> None:
    launcher = make()
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"sh0: sh -c .*: not done after 0.5 s; it last said: hm") as caught:
        launcher.run(launcher.hosts()[0], ["sh", "-c", "echo hm >&2; sleep 74.74"], timeout=0.5)
    assert caught.value.exit_code == 4
    assert time.monotonic() - began < 2
    ends = time.monotonic() + 10
    while launcher.run(launcher.hosts()[0], ["pgrep", "-f", "sleep 74.7[4]"]).returncode == 0:
        assert time.monotonic() < ends, "it still runs over there"
        time.sleep(0.2)


def test_a_command_can_be_watched_and_ends_when_the_watcher_goes(make: Make, home: Path) -> None:
    (home / ".bashrc").write_text("echo Welcome; echo quota >&2\n")
    launcher = make()
    state = json.dumps(launcher.to_state())
    code = (
        "import json, sys; from pathlib import Path; from usernetes_deploy.launch.ssh.launcher import SshLauncher\n"
        "launcher = SshLauncher.from_state(json.loads(sys.argv[1]), Path('node.pyz'))\n"
        "sys.exit(launcher.stream(launcher.hosts()[0], sys.argv[2:]))"
    )
    argv = [sys.executable, "-c", code, state]
    done = subprocess.run(
        [*argv, "sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    with subprocess.Popen(
        [*argv, "sh", "-c", "echo on; exec sleep 75.75"], stdout=subprocess.PIPE, text=True
    ) as viewer:
        assert viewer.stdout is not None
        assert viewer.stdout.readline() == "on\n"
        viewer.kill()
    ends = time.monotonic() + 5
    while launcher.run(launcher.hosts()[0], ["pgrep", "-f", "sleep 75.7[5]"]).returncode == 0:
        assert time.monotonic() < ends, "it still runs over there"
        time.sleep(0.1)


def test_thirty_calls_to_one_host_keep_within_its_sessions(make: Make) -> None:
    launcher = make()
    host = launcher.hosts()[0]
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(launcher.run(host, ["true"]).returncode)) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 30


def test_the_blob_is_nowhere_to_be_seen(make: Make) -> None:
    launcher = make()
    scan = (
        "import glob,sys; blob=sys.stdin.buffer.read()\n"
        "for name in ('cmdline', 'environ'):\n"
        "    for path in glob.glob(f'/proc/[0-9]*/{name}'):\n"
        "        try:\n"
        "            if blob in open(path,'rb').read(): print(path)\n"
        "        except OSError: pass\n"
        "print('scanned')"
    )
    done = launcher.run(launcher.hosts()[0], ["python3", "-c", scan], stdin=b"the-very-secret-key")
    assert done.stdout == "scanned\n"


def test_the_node_program_is_put_once_per_content_into_a_private_directory(
    make: Make, bed: tuple[Path, list[SshHost]]
) -> None:
    launcher = make()
    sh0 = launcher.hosts()[0]
    python, path = launcher.node_program(sh0)
    content = (bed[0] / "node.pyz").read_bytes()
    assert path == f"/var/tmp/usernetes-{UID}/program/{hashlib.sha256(content).hexdigest()[:16]}/node.pyz"
    look = ["stat", "-c", "%a %U", f"/var/tmp/usernetes-{UID}", str(Path(path).parent)]
    assert launcher.run(sh0, look).stdout == f"700 {USER}\n" * 2
    inode = launcher.run(sh0, ["stat", "-c", "%i", path]).stdout
    assert make().node_program(sh0) == (python, path)
    assert launcher.run(sh0, ["stat", "-c", "%i", path]).stdout == inode
    launcher.run(sh0, ["sh", "-c", f"echo x >> {path}"]).check()
    assert make().node_program(sh0) == (python, path)
    assert launcher.run(sh0, ["sha256sum", path]).stdout.split()[0] == hashlib.sha256(content).hexdigest()
    assert launcher.run(sh0, [python, path, "status"], stdin=b"k" * 300_000).stdout == "['status'] 300000\n"


def test_a_directory_made_by_somebody_else_is_not_used(make: Make, bed: tuple[Path, list[SshHost]]) -> None:
    own = bed[1][2].own / "var-tmp" / f"usernetes-{UID}"
    subprocess.run(["rm", "-rf", str(own)], check=True)
    own.mkdir(mode=0o777)
    own.chmod(0o777)
    launcher = make()
    with pytest.raises(UsernetesError, match=r"sh2: put the node program in place: .* belongs to somebody else"):
        launcher.node_program(launcher.hosts()[2])
    own.rmdir()


def test_a_host_without_python_is_not_fit(make: Make, home: Path) -> None:
    (home / ".bashrc").write_text(
        "PATH=/nowhere; d=$(/bin/mktemp -d); for c in id mkdir chmod sha256sum cat rm mv timeout sh; do "
        '/bin/ln -s "$(PATH=/usr/bin:/bin command -v $c)" $d/$c; done; PATH=$d\n'
    )
    launcher = make()
    with pytest.raises(HostNotFit, match=r"sh0: there is no Python 3.9 or newer\n  fix: .*prerequisites") as caught:
        launcher.node_program(launcher.hosts()[0])
    assert caught.value.exit_code == 3


def test_a_started_node_outlives_the_connection_and_the_daemon(make: Make, host: SshHost) -> None:
    launcher = make()
    sh1 = launcher.hosts()[1]
    handle = launcher.start(sh1, [*launcher.node_program(sh1), "start"], stdin=b"k" * 100_000)
    assert handle["blob"] == 100_000
    launcher.close()
    host.stop()
    os.kill(handle["pid"], 0)
    host.start()
    assert make().run(sh1, ["kill", str(handle["pid"])]).returncode == 0


def test_a_start_that_fails_or_says_nothing_is_an_error(make: Make) -> None:
    launcher = make()
    with pytest.raises(CommandFailed, match=r"sh0: .*exit code 5\n  \| no tun"):
        launcher.start(launcher.hosts()[0], ["sh", "-c", "echo no tun >&2; exit 5"], stdin=b"")
    with pytest.raises(CommandFailed, match="no handle in its answer"):
        launcher.start(launcher.hosts()[0], ["echo", "hello"], stdin=b"")


def test_another_process_goes_on_from_the_state_alone(make: Make, bed: tuple[Path, list[SshHost]]) -> None:
    state = json.dumps(make([Target("first", "sh0", labels={"rack": "7"}), Target("second", "sh1")]).to_state())
    code = (
        "import json, sys; from pathlib import Path; from usernetes_deploy.launch.ssh.launcher import SshLauncher\n"
        "launcher = SshLauncher.from_state(json.load(sys.stdin), Path('node.pyz'))\n"
        "print([(host.name, launcher.run(host, ['hostname']).stdout.strip()) for host in launcher.hosts()])\n"
        "launcher.close()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=state, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[('first', 'sh0'), ('second', 'sh1')]\n"
    assert done.stderr == ""


def test_files_are_sent_whole_once_and_with_their_mode(make: Make, tmp_path: Path) -> None:
    launcher = make()
    sh0 = launcher.hosts()[0]
    source = tmp_path / "with space 'and quote"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o755)
    target = "/tmp/to send/deep/b'in"
    launcher.send(sh0, source, target)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert launcher.run(sh0, ["sha256sum", target]).stdout.split()[0].lstrip("\\") == digest
    seen = launcher.run(sh0, ["stat", "-c", "%a %i", target]).stdout
    assert seen.startswith("755 ")
    launcher.send(sh0, source, target)
    assert launcher.run(sh0, ["stat", "-c", "%a %i", target]).stdout == seen
    source.write_bytes(b"")
    launcher.send(sh0, source, target)
    assert launcher.run(sh0, ["stat", "-c", "%s", target]).stdout == "0\n"
    assert launcher.run(sh0, ["ls", "-A", "/tmp/to send/deep"]).stdout == "b'in\n"


def test_a_full_disk_is_said_and_leaves_nothing_behind(
    make: Make, bed: tuple[Path, list[SshHost]], tmp_path: Path
) -> None:
    host = bed[1][2]
    host.inside("mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "none", "/var/tmp")
    try:
        launcher = make()
        sh2 = launcher.hosts()[2]
        big = tmp_path / "big"
        big.write_bytes(b"x" * 10_000_000)
        with pytest.raises(UsernetesError, match=r"sh2: copy .*No space left on device\n  fix: make room"):
            launcher.send(sh2, big, "/var/tmp/place/big")
        assert launcher.run(sh2, ["ls", "-A", "/var/tmp/place"]).stdout == ""
        launcher.run(sh2, ["sh", "-c", "head -c 70000 /dev/zero > /var/tmp/fill; rm -rf /var/tmp/place"])
        with pytest.raises(UsernetesError, match=r"sh2: put the node program .*No space left on device\n  fix: make"):
            launcher.node_program(sh2)
    finally:
        host.inside("umount", "-l", "/var/tmp")


def test_a_dead_host_is_named_and_does_not_hold_the_others(make: Make, host: SshHost) -> None:
    host.link("down")
    launcher = make()
    began = time.monotonic()
    outcome = on_all(launcher.hosts(), lambda host: launcher.run(host, ["true"]).returncode, deadline=2)
    assert time.monotonic() - began < 3
    assert outcome.results == {"sh0": 0, "sh2": 0}
    assert isinstance(outcome.failures["sh1"], TimedOut)
    with pytest.raises((TimedOut, UsernetesError), match=r"sh1: connect to 10.74.0.11:22: "):
        launcher.run(launcher.hosts()[1], ["true"])


def test_every_host_that_cannot_be_reached_is_listed_with_its_reason(make: Make, host: SshHost) -> None:
    host.stop()
    launcher = make("sh0,sh1,no-such-host.invalid")
    with pytest.raises(NodeFailures) as caught:
        launcher.connect(deadline=8)
    text = str(caught.value)
    assert "sh1: connect to 10.74.0.11:22: nothing listens there (ECONNREFUSED)\n    fix: start sshd" in text
    assert "no-such-host: connect to no-such-host.invalid:22: the name is not known" in text
    assert "sh0:" not in text


def test_a_service_that_is_no_ssh_is_not_waited_for_beyond_the_deadline(
    make: Make, bed: tuple[Path, list[SshHost]]
) -> None:
    code = "import socket,time; s=socket.create_server(('', 2200)); print(flush=True); c=s.accept(); time.sleep(60)"
    with subprocess.Popen(["ip", "netns", "exec", "sh0", sys.executable, "-c", code], stdout=subprocess.PIPE) as mute:
        assert mute.stdout is not None
        mute.stdout.readline()
        launcher = make([Target("mute", "sh0", port=2200)])
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"mute: connect to 10.74.0.10:2200: no answer in time"):
            launcher.run(launcher.hosts()[0], ["true"], timeout=1)
        assert time.monotonic() - began < 2.5
        mute.kill()


def test_a_wrong_key_is_refused_with_what_was_tried(make: Make, bed: tuple[Path, list[SshHost]]) -> None:
    path, _ = bed
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path / "other")], check=True)
    config = (path / "config").read_text().replace(f"IdentityFile {path}/id\n", f"IdentityFile {path}/other\n")
    (path / "config").write_text(config)
    launcher = make()
    with pytest.raises(UsernetesError) as caught:
        launcher.run(launcher.hosts()[0], ["true"])
    assert str(caught.value) == (
        f"sh0: log in: {USER} is not let in; refused: {path}/other\n  fix: ssh-copy-id {USER}@10.74.0.10"
    )
    (path / "other").unlink()
    (path / "other.pub").unlink()
    with pytest.raises(UsernetesError, match="there is no key to offer"):
        launcher.run(launcher.hosts()[0], ["true"])


def test_a_password_prompt_is_an_error_not_a_wait(make: Make, bed: tuple[Path, list[SshHost]], host: SshHost) -> None:
    host.start(PasswordAuthentication="yes", AuthorizedKeysFile="none")
    launcher = make()
    with pytest.raises(
        UsernetesError, match=r"it would ask for a password, which usernetes does not type\n  fix: ssh-"
    ):
        launcher.run(launcher.hosts()[1], ["true"])
    host.start(PasswordAuthentication="yes", PubkeyAuthentication="no")
    with pytest.raises(UsernetesError, match=r"keys are not accepted there; it would ask for a password"):
        launcher.run(launcher.hosts()[1], ["true"])
    host.start(PasswordAuthentication="yes", AuthenticationMethods="publickey,password")
    with pytest.raises(UsernetesError, match=r"it accepts .*id, and then asks for a password, .*\n  fix: let hpcsh@"):
        launcher.run(launcher.hosts()[1], ["true"])


def test_a_key_with_a_passphrase_works_through_the_agent_and_else_says_so(
    make: Make, bed: tuple[Path, list[SshHost]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, _ = bed
    subprocess.run(["cp", str(path / "id"), str(path / "id.pub"), str(tmp_path)], check=True)
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(key)], check=True)
    (path / "config").write_text(
        (path / "config").read_text().replace(f"IdentityFile {path}/id\n", f"IdentityFile {key}\n")
    )
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    launcher = make()
    with pytest.raises(UsernetesError, match=rf"no key to offer; {key} has a passphrase\n  fix: ssh-add {key}"):
        launcher.run(launcher.hosts()[0], ["true"])
    sock = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL) as agent:
        while not sock.exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        subprocess.run(["ssh-add", "-q", str(path / "id")], check=True)
        assert launcher.run(launcher.hosts()[0], ["true"]).returncode == 0
        agent.terminate()


def test_an_unknown_host_key_needs_accept_new_and_is_then_remembered(
    make: Make, bed: tuple[Path, list[SshHost]]
) -> None:
    known = bed[0] / "known_hosts"
    known.write_text("# nobody yet")
    with pytest.raises(
        UsernetesError, match=r"sh0: host key: its host key is not known: ssh-ed25519 SHA256:.*\n.*--accept-new"
    ):
        make().run(Host("sh0"), ["true"])
    assert known.read_text() == "# nobody yet"
    launcher = make(accept_new=True)
    launcher.connect()
    lines = known.read_text().splitlines()
    assert sorted(line.split()[0] for line in lines[1:]) == ["10.74.0.10", "10.74.0.11", "10.74.0.12"]
    make().connect()
    assert known.read_text().splitlines() == lines


def test_a_changed_host_key_is_refused_even_with_accept_new(
    make: Make, bed: tuple[Path, list[SshHost]], host: SshHost
) -> None:
    host.new_key()
    host.start()
    before = (bed[0] / "known_hosts").read_text()
    launcher = make(accept_new=True)
    with pytest.raises(UsernetesError) as caught:
        launcher.run(launcher.hosts()[1], ["true"])
    text = str(caught.value)
    assert "sh1: host key: the host key changed: it now shows ssh-ed25519 SHA256:" in text
    assert f"{bed[0]}/known_hosts:2" in text
    assert f"ssh-keygen -R '10.74.0.11' -f {bed[0]}/known_hosts" in text
    assert (bed[0] / "known_hosts").read_text() == before
    assert launcher.run(launcher.hosts()[0], ["true"]).returncode == 0


def test_a_connection_cut_in_the_middle_is_said_and_made_again_next_time(make: Make, host: SshHost) -> None:
    launcher = make()
    sh1 = launcher.hosts()[1]
    launcher.connect()
    threading.Timer(0.5, host.stop).start()
    began = time.monotonic()
    with pytest.raises(UsernetesError, match=r"sh1: sleep 30: the connection was lost.*\n  fix: is the host up"):
        launcher.run(sh1, ["sleep", "30"])
    assert time.monotonic() - began < 3
    host.start()
    assert launcher.run(sh1, ["hostname"]).stdout == "sh1\n"


def test_a_host_that_vanishes_silently_holds_a_call_to_its_deadline_at_most(make: Make, host: SshHost) -> None:
    launcher = make()
    launcher.connect()
    threading.Timer(0.3, host.link, ("down",)).start()
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"sh1: sleep 30: not done after 2 s"):
        launcher.run(launcher.hosts()[1], ["sleep", "30"], timeout=2)
    assert time.monotonic() - began < 4


def test_a_copy_that_is_cut_leaves_no_half_file(make: Make, host: SshHost, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(400_000_000)
    launcher = make()
    sh1 = launcher.hosts()[1]
    launcher.connect()

    def cut() -> None:
        place = host.own / "var-tmp" / "cut"
        while not any(path.stat().st_size > 1_000_000 for path in place.glob(".usernetes-*")):
            time.sleep(0.01)
        host.stop()

    threading.Thread(target=cut).start()
    with pytest.raises(UsernetesError, match=r"sh1: copy .*big to /var/tmp/cut/big: the connection was lost"):
        launcher.send(sh1, big, "/var/tmp/cut/big")
    host.start()
    ends = time.monotonic() + 10
    while launcher.run(sh1, ["ls", "-A", "/var/tmp/cut"]).stdout:
        assert time.monotonic() < ends, "a half file stays"
        time.sleep(0.2)


def test_jump_hosts_are_used_and_shared(
    make: Make, bed: tuple[Path, list[SshHost]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = bed
    config = path / "config"
    config.write_text("Host sh1\n  ProxyJump sh0\nHost sh2\n  ProxyJump sh0,sh1\n" + config.read_text())
    launcher = make()
    who = "echo $SSH_CONNECTION | cut -d' ' -f1"
    origin = {host.name: launcher.run(host, ["sh", "-c", who]).stdout.strip() for host in launcher.hosts()}
    assert origin == {"sh0": "10.74.0.1", "sh1": "10.74.0.10", "sh2": "10.74.0.11"}
    assert sorted(launcher._connector._jumps) == [("sh0",), ("sh0", "sh1")]


def test_a_jump_host_for_all_is_not_its_own_and_a_circle_is_refused(
    make: Make, bed: tuple[Path, list[SshHost]]
) -> None:
    path, _ = bed
    config = path / "config"
    plain = config.read_text()
    config.write_text("Host sh*\n  ProxyJump sh0\n" + plain)
    make().connect()
    config.write_text("Host sh1\n  ProxyJump sh2\nHost sh2\n  ProxyJump sh1\n" + plain)
    launcher = make()
    with pytest.raises(UsageError, match="jump hosts go round in a circle: sh1 > sh2 > sh1"):
        launcher.run(launcher.hosts()[1], ["true"], timeout=5)


def test_a_jump_host_that_cannot_reach_the_host_says_so(
    make: Make, bed: tuple[Path, list[SshHost]], host: SshHost
) -> None:
    host.stop()
    launcher = make([Target("far", "sh1", proxy_jump="sh0")])
    with pytest.raises(
        UsernetesError, match=r"far: connect to 10.74.0.11:22 through sh0: the jump host cannot reach it"
    ):
        launcher.run(launcher.hosts()[0], ["true"])


def test_a_proxy_command_works_ends_with_the_connection_and_its_failure_is_said(
    make: Make, bed: tuple[Path, list[SshHost]]
) -> None:
    path, _ = bed
    config = path / "config"
    plain = config.read_text()
    relay = path / "relay.py"
    relay.write_text(
        "import socket,sys,threading,os\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def pump(a,b):\n"
        "    while (d:=a(65536)): b(d)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=pump,args=(lambda n:os.read(0,n),s.sendall)).start()\n"
        "pump(s.recv,lambda d:os.write(1,d))\n"
    )
    config.write_text(
        f"Host sh0\n  ProxyCommand {sys.executable} {relay} %h %p\nHost sh1\n  ProxyCommand exit 3\n" + plain
    )
    launcher = make()
    assert launcher.run(launcher.hosts()[0], ["hostname"]).stdout == "sh0\n"
    with pytest.raises(UsernetesError, match=r"sh1: connect to 10.74.0.11:22 through its ProxyCommand"):
        launcher.run(launcher.hosts()[1], ["true"])
    launcher.close()
    assert subprocess.run(["pgrep", "-f", str(relay)], check=False, stdout=subprocess.DEVNULL).returncode == 1


def test_after_close_no_thread_and_no_descriptor_is_left(make: Make) -> None:
    before_threads, before = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        launcher = make()
        launcher.connect()
        launcher.run(launcher.hosts()[0], ["true"])
        launcher.close()
    ends = time.monotonic() + 3
    while threading.active_count() > before_threads and time.monotonic() < ends:
        time.sleep(0.05)
    assert threading.active_count() <= before_threads
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
