"""`usernetes prepare` hands hosts and options to ansible-playbook as they are meant."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from invoke.context import Context

from usernetes_deploy.commands import prepare as command
from usernetes_deploy.errors import UsageError, UsernetesError


def test_without_hosts_this_machine_is_meant(tmp_path: Path) -> None:
    assert command.target_options("", tmp_path) == ["--inventory", "localhost,", "--connection", "local"]


def test_a_host_list_becomes_an_inventory(tmp_path: Path) -> None:
    [_, path] = command.target_options("hpc@node[01-02]:2222", tmp_path)
    hosts = yaml.safe_load(Path(path).read_text())["all"]["hosts"]
    assert hosts == {
        name: {"ansible_host": name, "ansible_user": "hpc", "ansible_port": 2222} for name in ("node01", "node02")
    }


def test_an_inventory_is_handed_on_as_it_is(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    inventory.write_text("[workers]\nnode01 ansible_host=192.0.2.1\n")
    assert command.target_options(str(inventory), tmp_path) == ["--inventory", str(inventory)]


def test_a_tag_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="--tags tunn: expected some of prerequisites, user, subid"):
        command.prepare(Context(), tags="tunn,tun")


def test_what_failed_is_named_and_unreachable_hosts_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recap = (
        "node01 : ok=25 changed=2 unreachable=0 failed=0 skipped=1 rescued=0 ignored=0\n"
        "node02 : ok=1 changed=0 unreachable=0 failed=1 skipped=1 rescued=0 ignored=0\n"
        "node03 : ok=0 changed=0 unreachable=1 failed=0 skipped=0 rescued=0 ignored=0\n"
    )
    with pytest.raises(UsernetesError, match="node02: changed 0, failed 1; node03: unreachable"):
        command.run([sys.executable, "-c", f"print({recap!r}); raise SystemExit(4)"], str(tmp_path))
    assert "node01" in capsys.readouterr().err


def test_a_real_run_on_this_machine_prints_a_line_a_host(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_ASK_PASS", "False")
    if os.geteuid() != 0:
        pytest.skip("becoming root may need a password")
    command.prepare(Context(), tags="apparmor_userns", check=True)
    out, err = capfd.readouterr()
    assert out == "localhost: changed 0\n"
    assert "apparmor_userns" in err
