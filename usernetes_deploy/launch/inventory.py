"""The hosts of a call: a list, our YAML, or an Ansible inventory (ini, YAML, a directory, a script).

An inventory is read by ``ansible-inventory`` itself: groups, ranges, variables and plugins mean what they mean there.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy.errors import SpecError, UsageError
from usernetes_deploy.launch.hostlist import Target, checked, load, node_name

ANSIBLE_SECONDS = 60
_CONNECTIONS = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")


def read_hosts(source: str, limit: str = "") -> list[Target]:
    """The hosts of `source`, which is a host list, a file of hosts, or an Ansible inventory.

    `limit` is an Ansible host pattern (``workers:!node07``) and needs an inventory. Raises `UsageError`.

    >>> [target.name for target in read_hosts("node[1-3]")]
    ['node1', 'node2', 'node3']
    """
    path = Path(source).expanduser()
    if path.exists() and is_inventory(path):
        return from_ansible(path, limit)
    if limit:
        raise UsageError(f"--limit {limit} needs an Ansible inventory, and {source} is none")
    return load(source)


def is_inventory(path: Path) -> bool:
    """Whether `path` is an Ansible inventory, by what it holds: groups, or variables beside the host names."""
    if path.is_dir():
        return True
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if path.suffix in (".yaml", ".yml", ".json"):
        try:
            return _has_groups(yaml.safe_load(text))
        except yaml.YAMLError:
            return False
    if text.startswith("#!") and os.access(path, os.X_OK):
        return True
    lines = [line.strip() for line in text.splitlines()]
    return any(re.match(r"\[[\w.:-]+\]\s*(#.*)?$|[^\s#;]+\s+\w+=", line) for line in lines)


def _has_groups(data: Any) -> bool:
    """Ansible's YAML is groups of hosts, ours is ``hosts:`` with a list."""
    if not isinstance(data, dict) or isinstance(data.get("hosts"), (list, str)):
        return False
    keys = {"hosts", "children", "vars"}
    return "all" in data or "plugin" in data or any(isinstance(v, dict) and keys & v.keys() for v in data.values())


def from_ansible(path: Path, limit: str = "") -> list[Target]:
    """The hosts of an inventory in its order, each once; ``ansible_host``, ``_user``, ``_port`` ... are taken over."""
    argv = [sys.executable, "-m", "ansible", "inventory", "-i", str(path), "--list"]
    if limit:
        argv += ["--limit", limit]
    # A file that cannot be understood is an error, not a warning above an empty list.
    environment = {**os.environ, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1", "ANSIBLE_NOCOLOR": "1"}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=ANSIBLE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{path}: ansible-inventory gave no answer within {ANSIBLE_SECONDS} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("[ERROR]")] or done.stderr.splitlines()
        raise UsageError(f"{path}: {(said or ['ansible-inventory failed'])[-1].removeprefix('[ERROR]: ')}")
    try:
        inventory = json.loads(done.stdout)
    except ValueError:
        raise UsageError(f"{path}: ansible-inventory gave no JSON: {done.stdout[:80]!r}") from None
    variables = inventory.get("_meta", {}).get("hostvars", {})
    names = dict.fromkeys(_hosts_of("all", inventory, set()))
    problems: list[tuple[str, str]] = []
    targets = []
    for name in names:
        try:
            targets.append(_target(name, variables.get(name, {})))
        except UsageError as error:
            problems.append((name, error.reason))
    if problems:
        raise SpecError(problems, str(path))
    return checked(targets, f"{path} (limit {limit})" if limit else str(path))


def _hosts_of(group: str, inventory: dict[str, Any], seen: set[str]) -> list[str]:
    if group in seen:
        return []
    seen.add(group)
    found = inventory.get(group, {})
    names = list(found.get("hosts", []))
    for child in found.get("children", []):
        names.extend(_hosts_of(child, inventory, seen))
    return names


def _target(name: str, variables: dict[str, Any]) -> Target:
    def text(*keys: str) -> str:
        value = next((str(variables[key]) for key in keys if variables.get(key) not in (None, "")), "")
        if "{{" in value:
            raise UsageError(f"{keys[0]} is a template ({value}); write the value itself")
        return value

    connection = text("ansible_connection") or "ssh"
    if connection not in _CONNECTIONS:
        raise UsageError(f"ansible_connection is {connection}; only ssh reaches it from here")
    port = text("ansible_port", "ansible_ssh_port") or "0"
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"ansible_port is {port!r}, expected 1 to 65535")
    try:
        options = [*shlex.split(text("ansible_ssh_common_args")), *shlex.split(text("ansible_ssh_extra_args"))]
    except ValueError as error:
        raise UsageError(f"ansible_ssh_common_args: {error}") from None
    address = text("ansible_host", "ansible_ssh_host") or name
    if address.startswith("-"):
        raise UsageError(f"ansible_host {address!r} is no host")
    return Target(
        node_name(name),
        address,
        user=text("ansible_user", "ansible_ssh_user"),
        port=int(port),
        identity_file=text("ansible_ssh_private_key_file", "ansible_private_key_file"),
        options=tuple(options),
    )


@functools.lru_cache(maxsize=4)
def targets_of(sources: tuple[str, ...], limit: str = "") -> tuple[Target, ...]:
    """The hosts of all `sources`: lists, files, inventories. Raises `UsageError`, also for hosts named twice."""
    hosts = [target for source in sources for target in read_hosts(source, limit)]
    return tuple(checked(hosts, ", ".join(sources)))
