"""The playbooks' own modules: what they write, what they leave alone, and what they take back."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

LIBRARY = Path(__file__).parents[3] / "playbooks" / "library"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LIBRARY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SUBID = load("usernetes_subid")
SYSCTL = load("usernetes_sysctl")


class Host:
    """Files in a folder instead of a host's."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        for name, text in {"subuid": "bob:100000:65536\n", "subgid": "bob:100000:65536\nold:165536:1000"}.items():
            (folder / name).write_text(text)
        for name, value in {"fs/inotify/max_user_instances": "128", "net/ipv4/ping_group_range": "1\t0"}.items():
            (folder / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "sys" / name).write_text(f"{value}\n")

    def run(self, module: ModuleType, arguments: dict[str, Any]) -> dict[str, Any]:
        check = arguments.pop("check", False)
        with patch_module_args({"_ansible_check_mode": check, **arguments}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self.capture.readouterr().out)
        return result

    def subid(self, **arguments: Any) -> dict[str, Any]:
        files = {name: str(self.folder / name) for name in ("subuid", "subgid", "nsswitch")}
        return self.run(SUBID, {"record": str(self.folder / "record" / "subid")} | files | arguments)

    def sysctl(self, **arguments: Any) -> dict[str, Any]:
        places = {"file": "60.conf", "record": "record/sysctl.json", "root": "sys"}
        return self.run(SYSCTL, {key: str(self.folder / value) for key, value in places.items()} | arguments)

    def files(self) -> dict[str, str]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_text() for path in paths}


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on whose PATH `getent` lists what the files `passwd` and `group` of its folder `lists` hold."""
    folder, lists, programs = (tmp_path / name for name in ("host", "lists", "bin"))
    for made in (folder, lists, programs):
        made.mkdir()
    (programs / "getent").write_text(f'#!/bin/sh\ncat "{lists}/$1" 2>/dev/null || true\n')
    (programs / "getent").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return Host(folder, capsys)


def test_a_range_starts_behind_all_users_and_groups(host: Host) -> None:
    lists = host.folder.parent / "lists"
    (lists / "passwd").write_text("ann:x:200123:100::/:/bin/sh\nnobody:x:4294967294:1::/:/bin/sh\n")
    (lists / "group").write_text("staff:x:700000:\n")
    assert host.subid(user="nosuchuser")["range"] == [700001, 65536]


def test_where_a_directory_service_lists_nobody_the_first_id_must_be_given(host: Host) -> None:
    (host.folder / "nsswitch").write_text("passwd: files [NOTFOUND=continue] sss\ngroup: files\n")
    before = host.files()
    assert "users come from sss too, which does not list them" in host.subid(user="nosuchuser")["msg"]
    assert host.files() == before
    assert host.subid(user="nosuchuser", first=3000000)["range"] == [3000000, 65536]


def test_a_first_id_among_real_users_is_refused(host: Host) -> None:
    (host.folder.parent / "lists" / "passwd").write_text("ann:x:250000:100::/:/bin/sh\n")
    before = host.files()
    assert "hold real users or groups: ann" in host.subid(user="nosuchuser", first=200000)["msg"]
    assert host.files() == before


def test_a_range_starts_behind_those_of_both_files_and_is_the_same_in_both(host: Host) -> None:
    result = host.subid(user="nosuchuser")
    assert (result["changed"], result["range"]) == (True, [166536, 65536])
    assert (host.folder / "subuid").read_text() == "bob:100000:65536\nnosuchuser:166536:65536\n"
    assert (host.folder / "subgid").read_text() == "bob:100000:65536\nold:165536:1000\nnosuchuser:166536:65536\n"


def test_a_user_with_enough_ids_is_left_alone(host: Host) -> None:
    before = host.files()
    assert host.subid(user="bob")["changed"] is False
    assert host.files() == before


def test_a_user_with_too_few_ids_gets_more_in_the_file_that_lacks_them(host: Host) -> None:
    (host.folder / "subuid").write_text("old:165536:65536\n")
    host.subid(user="old")
    assert (host.folder / "subuid").read_text() == "old:165536:65536\n"
    assert (host.folder / "subgid").read_text().endswith("old:165536:1000\nold:231072:65536\n")


def test_check_mode_writes_nothing_and_shows_the_lines(host: Host) -> None:
    before = host.files()
    result = host.subid(user="nosuchuser", check=True)
    assert result["changed"] is True
    assert result["diff"][0]["after"].endswith("nosuchuser:166536:65536\n")
    assert host.files() == before


def test_only_what_was_given_is_taken_back(host: Host) -> None:
    before = host.files()
    host.subid(user="nosuchuser")
    host.subid(user="another")
    assert host.subid(state="absent")["changed"] is True
    assert host.files() == before | {"subgid": before["subgid"] + "\n"}
    assert host.subid(state="absent")["changed"] is False


def test_missing_files_are_made(host: Host) -> None:
    (host.folder / "subuid").unlink()
    (host.folder / "subgid").unlink()
    host.subid(user="nosuchuser")
    assert (host.folder / "subuid").read_text() == "nosuchuser:100000:65536\n"


def test_ids_that_do_not_fit_are_an_error(host: Host) -> None:
    (host.folder / "subuid").write_text("big:4294900000:60000\n")
    assert "no room for 65536 ids" in host.subid(user="nosuchuser")["msg"]


INOTIFY = "fs.inotify.max_user_instances"


def test_parameters_are_raised_at_once_and_for_good(host: Host) -> None:
    result = host.sysctl(least={INOTIFY: 1024}, exact={"net.ipv4.ping_group_range": "0 2147483647"})
    assert result["changed"] is True
    assert (host.folder / "sys/fs/inotify/max_user_instances").read_text() == "1024\n"
    assert (host.folder / "60.conf").read_text().splitlines()[1:] == [
        f"{INOTIFY} = 1024",
        "net.ipv4.ping_group_range = 0 2147483647",
    ]
    assert host.sysctl(least={INOTIFY: 1024}, exact={"net.ipv4.ping_group_range": "0 2147483647"})["changed"] is False


def test_a_value_that_is_good_enough_and_one_that_the_kernel_lacks_are_left_alone(host: Host) -> None:
    before = host.files()
    assert host.sysctl(least={INOTIFY: 64, "kernel.unprivileged_userns_clone": 1})["changed"] is False
    assert host.files() == before


def test_check_mode_sets_nothing(host: Host) -> None:
    before = host.files()
    result = host.sysctl(least={INOTIFY: 1024}, check=True)
    assert result["diff"][1]["before"] == f"{INOTIFY} = 128\n"
    assert host.files() == before


def test_old_values_come_back(host: Host) -> None:
    before = host.files()
    host.sysctl(least={INOTIFY: 1024}, exact={"net.ipv4.ping_group_range": "0 2147483647"})
    assert host.sysctl(state="absent")["changed"] is True
    assert {name: text.split() for name, text in host.files().items()} == {n: t.split() for n, t in before.items()}
    assert host.sysctl(state="absent")["changed"] is False


def test_a_value_that_someone_else_changed_since_is_not_put_back(host: Host) -> None:
    host.sysctl(least={INOTIFY: 1024})
    (host.folder / "sys/fs/inotify/max_user_instances").write_text("8192\n")
    host.sysctl(state="absent")
    assert (host.folder / "sys/fs/inotify/max_user_instances").read_text() == "8192\n"


def test_a_value_lost_in_between_is_set_again(host: Host) -> None:
    host.sysctl(least={INOTIFY: 1024})
    (host.folder / "sys/fs/inotify/max_user_instances").write_text("128\n")
    assert host.sysctl(least={INOTIFY: 1024})["changed"] is True
    assert (host.folder / "sys/fs/inotify/max_user_instances").read_text() == "1024\n"
