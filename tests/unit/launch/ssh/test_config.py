"""Routes: what ~/.ssh/config and the host list say together, asked of OpenSSH and of paramiko alike."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path

import pytest

from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.hostlist import Target
from usernetes_deploy.launch.ssh.config import resolve

CONFIG = """
Host node7
  HostName 10.0.0.7
  User hpc
  Port 2222
  IdentityFile ~/.ssh/bed
  ProxyJump me@login,inner:2200
  ConnectTimeout 3
  IdentitiesOnly yes
  IdentityAgent none
Host proxied
  ProxyCommand nc -X %%h %h %p %r
Host alias
  HostKeyAlias the-bed
  HashKnownHosts yes
  UserKnownHostsFile /a /b
  ProxyJump none
"""


@pytest.fixture(params=["ssh", "paramiko"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "paramiko":
        monkeypatch.setattr(shutil, "which", lambda _: None)
    elif shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client here")
    path = tmp_path / "config"
    path.write_text(CONFIG)
    return path


def test_the_config_is_followed(config: Path) -> None:
    route = resolve(Target("node7", "node7"), config)
    assert (route.hostname, route.user, route.port, route.connect_timeout) == ("10.0.0.7", "hpc", 2222, 3.0)
    assert route.identity_files[0] == Path("~/.ssh/bed").expanduser()
    assert route.proxy_jump == ("me@login", "inner:2200")
    assert (route.identities_only, route.use_agent) == (True, False)
    assert route.host_key_name == "[10.0.0.7]:2222"
    assert str(route) == "hpc@10.0.0.7 port 2222"


def test_the_host_list_comes_first(config: Path) -> None:
    options = ("-o", "ConnectTimeout=7")
    target = Target("node7", "node7", "other", 22, "/keys/mine", "gate", options=options)
    route = resolve(target, config)
    assert (route.user, route.port, route.identity_files[0]) == ("other", 22, Path("/keys/mine"))
    assert route.proxy_jump == ("gate",)
    assert route.connect_timeout == 7.0


def test_without_a_word_the_defaults_are_those_of_ssh(config: Path) -> None:
    route = resolve(Target("plain", "plain"), config)
    assert (route.hostname, route.user, route.port) == ("plain", getpass.getuser(), 22)
    assert Path("~/.ssh/id_ed25519").expanduser() in route.identity_files
    assert route.known_hosts[0] == Path("~/.ssh/known_hosts").expanduser()
    assert (route.proxy_jump, route.proxy_command, route.identities_only, route.use_agent) == ((), "", False, True)
    assert route.host_key_name == "plain"
    assert route.connect_timeout == 10.0


def test_the_words_of_a_proxy_command_are_filled_in(config: Path) -> None:
    route = resolve(Target("x", "proxied", user="hpc", port=99), config)
    assert route.proxy_command == "nc -X %h proxied 99 hpc"


def test_an_alias_names_the_host_key(config: Path) -> None:
    route = resolve(Target("x", "alias", port=2222), config)
    assert (route.host_key_name, route.hash_known_hosts, route.proxy_jump) == ("the-bed", True, ())
    assert route.known_hosts[:2] == (Path("/a"), Path("/b"))


def test_a_wrong_config_is_a_wrong_call(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("Host a\n  Prot 22\n")
    with pytest.raises(UsageError, match=r"node7: ssh -G .*\n  fix: correct"):
        resolve(Target("node7", "node7"), path)


def test_ssh_options_are_understood_without_ssh_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    route = resolve(Target("a", "a", options=("-J", "gate", "-oPort=99", "-i", "/k")), tmp_path / "none")
    assert (route.proxy_jump, route.port, route.identity_files) == (("gate",), 99, (Path("/k"),))
    with pytest.raises(UsageError, match="-C needs the OpenSSH client"):
        resolve(Target("a", "a", options=("-C",)), tmp_path / "none")
