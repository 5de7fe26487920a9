"""What can be said of the playbooks without a host: syntax, tags, families, and that remedies name what exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from usernetes_deploy.commands.prepare import TAGS

ROOT = Path(__file__).parents[3]
PLAYBOOKS = ROOT / "playbooks"
FAMILIES: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/data/playbooks/families.yml").read_text())


def ansible(*words: str, cwd: Path | None = None, **environment: str) -> str:
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", *words]
    done = subprocess.run(
        argv,
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"} | environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ansible_understands_every_playbook() -> None:
    names = ["prepare.yml", "undo.yml", "testhosts.yml"]
    said = ansible(*(str(PLAYBOOKS / name) for name in names), "--syntax-check")
    assert re.findall(r"(?m)^playbook: .*/(.*)$", said) == names


def test_every_tag_is_a_role_that_can_be_undone() -> None:
    [play] = yaml.safe_load((PLAYBOOKS / "prepare.yml").read_text())
    tags = {role["tags"]: role["role"] for role in play["roles"] if role["tags"] != "always"}
    assert tuple(tags) == TAGS
    assert all(tag == role for tag, role in tags.items())
    assert all((PLAYBOOKS / "roles" / role / "tasks" / "undo.yml").is_file() for role in tags)
    undo = (PLAYBOOKS / "undo.yml").read_text()
    assert set(re.findall(r"name: (\w+), tasks_from: undo", undo)) == set(tags)


def test_every_remedy_of_the_facts_names_a_tag_that_exists() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "usernetes_deploy" / "facts").glob("*.py"))
    named = set(re.findall(r'playbook\(\s*"(\w+)"', sources))
    assert named
    assert named <= set(TAGS)


def test_every_role_and_every_tag_is_explained() -> None:
    page = (ROOT / "docs" / "admin.md").read_text()
    assert [tag for tag in TAGS if f"\n## {tag}: " not in page] == []


def test_every_variable_of_a_role_is_explained_where_it_is_set() -> None:
    for path in (PLAYBOOKS / "roles").glob("*/defaults/main.yml"):
        assert path.read_text().startswith("#"), path


@pytest.fixture(scope="module")
def missing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the role finds missing in each family, by the family's name: one run of Ansible, a play and a host each.

    No host shares what was found out, or read from a distribution's file, with another.
    """
    folder = tmp_path_factory.mktemp("families")
    hosts = [f"host{number}" for number in range(len(FAMILIES))]
    plays = [play_of(family, host, folder / host) for family, host in zip(FAMILIES, hosts, strict=True)]
    (folder / "plays.yml").write_text(json.dumps(plays))
    inventory = ",".join(hosts) + ","
    said = ansible(str(folder / "plays.yml"), "-i", inventory, ANSIBLE_ROLES_PATH=str(PLAYBOOKS / "roles"))
    found = re.findall(r'"msg": "missing=(.*)"', said)
    assert len(found) == len(FAMILIES), said
    return {family["name"]: json.loads(text.replace('\\"', '"')) for family, text in zip(FAMILIES, found, strict=True)}


def play_of(family: dict[str, Any], host: str, folder: Path) -> dict[str, Any]:
    """A play that asks the role on a host of the family, whose package manager is a script in `folder`."""
    folder.mkdir()
    (folder / "answer").write_text(family["answer"])
    program = folder / family["program"]
    program.write_text(f"#!/bin/sh\ncat {folder}/answer\nexit 1\n")
    program.chmod(0o755)
    return {
        "hosts": host,
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "environment": {"PATH": f"{folder}:{os.environ['PATH']}"},
        "tasks": [
            {"ansible.builtin.set_fact": family["facts"] | {"cacheable": True}},
            {"ansible.builtin.include_role": {"name": "prerequisites", "tasks_from": "missing"}},
            {"ansible.builtin.debug": {"msg": "missing={{ prerequisites_missing | to_json }}"}},
        ],
    }


@pytest.mark.parametrize("family", FAMILIES, ids=[case["name"] for case in FAMILIES])
def test_missing_packages_are_found_in_each_family(family: dict[str, Any], missing: dict[str, list[str]]) -> None:
    assert missing[family["name"]] == family["missing"]
