"""Ansible inventories become targets; what is none is left to the host list."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.errors import SpecError, UsageError
from usernetes_deploy.launch.hostlist import Target
from usernetes_deploy.launch.inventory import is_inventory, read_hosts

INI = """
[control]
n1 ansible_host=10.0.0.1 ansible_port=2222

[workers]
Node_[02:04] ansible_user=hpc
n1

[all:vars]
ansible_ssh_private_key_file=~/.ssh/bed
ansible_ssh_common_args="-o ProxyJump=login -o StrictHostKeyChecking=no"
ansible_password=not-to-be-seen
"""

YAML = """
all:
  vars: {ansible_user: hpc}
  children:
    control: {hosts: {n1: {ansible_host: fd00::1}}}
    workers: {hosts: {"n[2:3]": }}
"""


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_an_ini_inventory_gives_every_host_once_with_its_variables(tmp_path: Path) -> None:
    hosts = read_hosts(_write(tmp_path / "hosts", INI))
    assert [host.name for host in hosts] == ["n1", "node-02", "node-03", "node-04"]
    options = ("-o", "ProxyJump=login", "-o", "StrictHostKeyChecking=no")
    assert hosts[0] == Target("n1", "10.0.0.1", "", 2222, "~/.ssh/bed", options=options)
    assert hosts[1] == Target("node-02", "Node_02", "hpc", 0, "~/.ssh/bed", options=options)
    assert "not-to-be-seen" not in repr(hosts)


def test_a_yaml_inventory_is_told_from_our_own_yaml(tmp_path: Path) -> None:
    hosts = read_hosts(_write(tmp_path / "hosts.yaml", YAML))
    assert [(host.name, host.address, host.user) for host in hosts] == [
        ("n1", "fd00::1", "hpc"),
        ("n2", "n2", "hpc"),
        ("n3", "n3", "hpc"),
    ]
    ours = read_hosts(_write(tmp_path / "ours.yaml", "hosts: ['n[1-2]']"))
    assert [host.name for host in ours] == ["n1", "n2"]


def test_a_limit_chooses_from_an_inventory_and_from_nothing_else(tmp_path: Path) -> None:
    path = _write(tmp_path / "hosts.ini", INI)
    assert [host.address for host in read_hosts(path, "workers:!n1:!Node_03")] == ["Node_02", "Node_04"]
    with pytest.raises(UsageError, match="needs an Ansible inventory"):
        read_hosts("n[1-3]", "workers")
    with pytest.raises(UsageError, match=r"no host|Could not match"):
        read_hosts(path, "nobody")


def test_an_inventory_script_is_asked(tmp_path: Path) -> None:
    script = tmp_path / "cloud"
    script.write_text('#!/bin/sh\necho \'{"g": {"hosts": ["vm1", "vm2"]}, "_meta": {"hostvars": {}}}\'\n')
    script.chmod(0o755)
    assert [host.name for host in read_hosts(str(script))] == ["vm1", "vm2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a\nfoo bar=\n[b]\n", "arse"),
        ("[a]\n", "names no host"),
        ("[a]\nn1\nN1\n", r"more than once: n1 \(2 times\)"),
    ],
)
def test_a_bad_inventory_is_refused_in_one_line(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        read_hosts(_write(tmp_path / "hosts.ini", text))


def test_all_bad_hosts_of_an_inventory_are_named_each_with_its_reason(tmp_path: Path) -> None:
    wrong = {
        "ansible_connection=local": "ansible_connection is local",
        "ansible_host={{ip}}": "is a template",
        "ansible_port=ssh": "ansible_port is 'ssh'",
        "ansible_host=-oProxyCommand=x": "is no host",
        'ansible_ssh_common_args="\'"': "ansible_ssh_common_args",
    }
    lines = ["[a]", "good", *(f"n{number} {words}" for number, words in enumerate(wrong)), "fine"]
    with pytest.raises(SpecError) as caught:
        read_hosts(_write(tmp_path / "hosts.ini", "\n".join(lines)))
    said = dict(caught.value.problems)
    assert list(said) == [f"n{number}" for number in range(len(wrong))]
    assert [reason for words, reason in zip(said.values(), wrong.values(), strict=True) if reason not in words] == []


@pytest.mark.parametrize("text", ["n1\nn[2-3]\n", "# [all]\nn1", "n1, n2"])
def test_plain_lists_are_no_inventory(text: str, tmp_path: Path) -> None:
    assert not is_inventory(Path(_write(tmp_path / "hosts", text)))
