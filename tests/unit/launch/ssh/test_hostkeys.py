"""Host keys: what a known_hosts line means, and who is believed."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import paramiko
import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.hostlist import Target
from usernetes_deploy.launch.ssh.config import Route, resolve
from usernetes_deploy.launch.ssh.hostkeys import check_host_key, known_keys, preferred_key_types

KEY = paramiko.ECDSAKey.generate()
OTHER = paramiko.ECDSAKey.generate()


def _line(name: str, key: paramiko.PKey = KEY, marker: str = "") -> str:
    return f"{marker}{name} {key.get_name()} {base64.b64encode(key.asbytes()).decode()} comment\n"


def _route(tmp_path: Path, *, port: int = 22, hashed: bool = False) -> Route:
    config = tmp_path / "config"
    config.write_text(f"UserKnownHostsFile {tmp_path}/known\nHashKnownHosts {'yes' if hashed else 'no'}\n")
    return resolve(Target("node", "node7", port=port), config)


@pytest.mark.parametrize(
    ("patterns", "name", "hit"),
    [
        ("node7", "node7", True),
        ("node7,10.0.0.7", "10.0.0.7", True),
        ("NODE7", "node7", True),
        ("node*", "node7", True),
        ("node?", "node7", True),
        ("node?", "node77", False),
        ("node*,!node7", "node7", False),
        ("[node7]:2222", "[node7]:2222", True),
        ("[node*]:2222", "[node7]:2222", True),
        ("node7", "[node7]:2222", False),
        ("[node7]:2222", "node7", False),
        pytest.param(paramiko.HostKeys.hash_host("node7"), "node7", True, id="hashed"),
        pytest.param(paramiko.HostKeys.hash_host("node8"), "node7", False, id="another-hashed"),
        ("|1|damaged|line", "node7", False),
        ("|1|", "node7", False),
    ],
)
def test_a_line_speaks_of_the_hosts_that_openssh_says(patterns: str, name: str, hit: bool, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("# a comment\n\nshort line\n" + _line(patterns))
    found = known_keys(name, [tmp_path / "absent", tmp_path / "known"])
    assert bool(found) is hit
    if hit:
        assert found[0].place == f"{tmp_path}/known:4"


def test_a_known_key_passes_and_any_other_is_a_changed_one(tmp_path: Path) -> None:
    route = _route(tmp_path)
    (tmp_path / "known").write_text(_line("node7"))
    known = known_keys(route.host_key_name, route.known_hosts)
    check_host_key(route, known, KEY, accept_new=False, node="node")
    for accept_new in (False, True):
        with pytest.raises(
            UsernetesError, match=r"the host key changed: .*\n  fix: if you know why: ssh-keygen -R 'node7'"
        ):
            check_host_key(route, known, OTHER, accept_new=accept_new, node="node")


def test_a_revoked_key_is_refused_even_if_it_is_known_elsewhere(tmp_path: Path) -> None:
    route = _route(tmp_path)
    (tmp_path / "known").write_text(_line("node7") + _line("*", marker="@revoked "))
    known = known_keys(route.host_key_name, route.known_hosts)
    with pytest.raises(UsernetesError, match=r"was revoked in .*known:2"):
        check_host_key(route, known, KEY, accept_new=True, node="node")


def test_an_authority_line_is_not_taken_for_a_host_key(tmp_path: Path) -> None:
    route = _route(tmp_path)
    (tmp_path / "known").write_text(_line("*", marker="@cert-authority "))
    known = known_keys(route.host_key_name, route.known_hosts)
    with pytest.raises(UsernetesError, match="its host key is not known"):
        check_host_key(route, known, KEY, accept_new=False, node="node")


@pytest.mark.parametrize("hashed", [False, True])
def test_a_new_key_is_written_where_openssh_looks_for_it(hashed: bool, tmp_path: Path) -> None:
    route = _route(tmp_path, port=2222, hashed=hashed)
    known = tmp_path / "known"
    known.write_text("last line without an end")
    check_host_key(route, [], KEY, accept_new=True, node="node")
    lines = known.read_text().splitlines()
    assert lines[0] == "last line without an end"
    assert lines[1].startswith("|1|" if hashed else "[node7]:2222 ")
    check_host_key(route, known_keys("[node7]:2222", [known]), KEY, accept_new=False, node="node")


def test_a_new_known_hosts_file_is_private(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"UserKnownHostsFile {tmp_path}/ssh/known\n")
    route = resolve(Target("node", "node7"), config)
    check_host_key(route, [], KEY, accept_new=True, node="node")
    assert stat.S_IMODE((tmp_path / "ssh" / "known").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ssh").stat().st_mode) == 0o700


def test_a_new_key_that_cannot_be_written_is_not_accepted(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"UserKnownHostsFile {config}/known\n")
    route = resolve(Target("node", "node7"), config)
    with pytest.raises(UsernetesError, match="write the new host key"):
        check_host_key(route, [], KEY, accept_new=True, node="node")


def test_the_type_of_a_known_key_is_asked_for_first(tmp_path: Path) -> None:
    (tmp_path / "known").write_text("node7 ssh-rsa AAAA\n")
    known = known_keys("node7", [tmp_path / "known"])
    offered = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    assert preferred_key_types(known, offered) == [*offered[2:], *offered[:2]]
    assert preferred_key_types([], offered) == offered
