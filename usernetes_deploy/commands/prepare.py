"""``usernetes prepare``: what root does once on every host, with the ansible-playbook of our own environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from invoke.context import Context
from invoke.tasks import task

import usernetes_deploy
from usernetes_deploy.commands.common import Verb
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch import hostlist, inventory

TAGS = (
    "prerequisites",
    "user",
    "subid",
    "sysctl",
    "modules",
    "tun",
    "cgroup_delegation",
    "apparmor_userns",
    "firewall",
    "flux",
    "slurm",
)

SSH_ARGUMENTS = "-C -o ControlMaster=auto -o ControlPersist=20s -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
"""Ansible's own, and that a host which falls silent in the middle is unreachable after 15 s."""


@task(
    klass=Verb,
    iterable=["user"],
    help={
        "hosts": "host list (node[01-16]), file of hosts or Ansible inventory (default: this machine)",
        "user": "who may run clusters: gets subordinate ids; may be given again",
        "tags": f"only these parts, with commas: {', '.join(TAGS)}",
        "check": "change nothing, show what would be changed",
        "undo": "take back what was changed",
        "ask-become-pass": "ask for the password of sudo",
        "set": "a variable of the playbook, as NAME=VALUE or JSON (see docs/admin.md)",
    },
)
def prepare(
    _: Context,
    hosts: str = "",
    user: list[str] | None = None,
    tags: str = "",
    check: bool = False,
    undo: bool = False,
    ask_become_pass: bool = False,
    set: str = "",  # noqa: A002  the flag's name
) -> None:
    """Prepare hosts as root (SSH and sudo, or on this machine), and print a line a host.

    Examples:

        usernetes prepare --user alice                          this machine
        usernetes prepare --hosts node[01-16] --user alice --check
        usernetes prepare --hosts inventory.ini --tags tun,subid --user alice --user bob
        usernetes prepare --hosts inventory.ini --undo
    """
    wrong = [tag for tag in tags.split(",") if tag and tag not in TAGS]
    if wrong:
        raise UsageError(f"--tags {','.join(wrong)}: expected some of {', '.join(TAGS)}")
    playbook = playbooks() / ("undo.yml" if undo else "prepare.yml")
    with tempfile.TemporaryDirectory(prefix="usernetes-prepare-") as folder:
        argv = [*ansible_playbook(), *target_options(hosts, Path(folder)), str(playbook)]
        argv += ["--extra-vars", json.dumps({"usernetes_users": user})] if user else []
        argv += ["--extra-vars", set] if set else []
        argv += ["--tags", tags] if tags else []
        argv += ["--check", "--diff"] if check else []
        argv += ["--ask-become-pass"] if ask_become_pass else []
        for line in summary(run(argv, folder)):
            print(line)


def playbooks() -> Path:
    """The folder of the playbooks: of the checkout, or where the package was installed with them."""
    places = [
        Path(usernetes_deploy.__file__).parents[1] / "playbooks",
        Path(sysconfig.get_path("data")) / "share" / "usernetes-deploy" / "playbooks",
    ]
    for place in places:
        if (place / "prepare.yml").is_file():
            return place
    raise UsernetesError(
        f"no playbooks in {' or '.join(map(str, places))}", remedy="run it from a checkout of usernetes-deploy"
    )


def ansible_playbook() -> list[str]:
    """The ansible-playbook that belongs to this Python: another on PATH may be of another version."""
    return [sys.executable, "-m", "ansible", "playbook"]


def target_options(hosts: str, folder: Path) -> list[str]:
    """The options that name the hosts: an inventory as it is, any other list as one written into `folder`.

    >>> target_options("", Path("/nowhere"))
    ['--inventory', 'localhost,', '--connection', 'local']
    """
    if not hosts:
        return ["--inventory", "localhost,", "--connection", "local"]
    path = Path(hosts).expanduser()
    if path.exists() and inventory.is_inventory(path):
        return ["--inventory", str(path)]
    written = folder / "inventory.yml"
    members = {target.name: variables(target) for target in hostlist.load(hosts)}
    written.write_text(yaml.safe_dump({"all": {"hosts": members}}))
    return ["--inventory", str(written)]


def variables(target: hostlist.Target) -> Mapping[str, Any]:
    """How Ansible reaches a host: what is not said is left to ``~/.ssh/config``."""
    said = {
        "ansible_host": target.address,
        "ansible_user": target.user,
        "ansible_port": target.port,
        "ansible_ssh_private_key_file": target.identity_file,
        "ansible_ssh_common_args": " ".join(
            [*([f"-o ProxyJump={target.proxy_jump}"] if target.proxy_jump else []), *target.options]
        ),
    }
    return {name: value for name, value in said.items() if value}


def run(argv: Sequence[str], folder: str) -> str:
    """Run the playbook with its output on stderr as it comes; the output, or `UsernetesError` when a host failed."""
    # Connections of our own: one left open by an earlier call may lead to a host that is gone, and would hang.
    environment = {
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": SSH_ARGUMENTS,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": folder,
        **os.environ,
    }
    lines = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment, errors="replace") as process:
        assert process.stdout is not None  # noqa: S101  by construction
        for line in process.stdout:
            sys.stderr.write(line)
            lines.append(line)
    output = "".join(lines)
    if process.returncode:
        failed = [line for line in summary(output) if "failed" in line or "unreachable" in line]
        what = "; ".join(failed) or f"ansible-playbook ended with exit code {process.returncode}"
        raise UsernetesError(what, tried="prepare hosts", remedy="its output above says why")
    return output


def summary(output: str) -> list[str]:
    """A line a host, from the recap.

    >>> summary("node01 : ok=25   changed=2    unreachable=0    failed=0    skipped=17   rescued=0    ignored=0")
    ['node01: changed 2']
    """
    lines = []
    for name, words in re.findall(r"(?m)^(\S+)\s+: (ok=\d.*)$", output):
        counts = dict(word.split("=") for word in words.split())
        if counts["unreachable"] != "0":
            lines.append(f"{name}: unreachable")
        else:
            failed = f", failed {counts['failed']}" if counts["failed"] != "0" else ""
            lines.append(f"{name}: changed {counts['changed']}{failed}")
    return lines


TASKS = (prepare,)
