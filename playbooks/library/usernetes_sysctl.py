#!/usr/bin/python3
"""Ansible module: raise kernel parameters that are too low, keep them over a reboot, and take that back.

DOCUMENTATION, EXAMPLES and RETURN below are what ``ansible-doc`` shows.
"""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: usernetes_sysctl
short_description: Kernel parameters that a node needs
description:
  - Parameters that this kernel does not have are left out; a value that is good enough already is left alone.
  - What was changed is in effect at once, is written to I(file), and its old value to I(record).
options:
  least: {description: Parameters and the least number each must have, type: dict, default: {}}
  exact: {description: Parameters and the value each must have, type: dict, default: {}}
  file: {description: A file of /etc/sysctl.d, type: path, required: true}
  record: {description: Where the old values are kept for I(state=absent), type: path, required: true}
  root: {description: Where the parameters are, type: path, default: /proc/sys}
  state: {description: Set them or put the old values back, choices: [present, absent], default: present, type: str}
author: usernetes-deploy
"""
EXAMPLES = """
- usernetes_sysctl:
    least: {fs.inotify.max_user_instances: 1024}
    file: /etc/sysctl.d/60-usernetes.conf
    record: /var/lib/usernetes/prepare/sysctl.json
"""
RETURN = """
values: {description: The parameters that are set by I(file), type: dict, returned: always}
"""
HEADER = "# Written by usernetes-deploy, playbooks/prepare.yml, role sysctl.\n"


def normal(value):
    """A value with single spaces: the kernel prints tabs between the numbers of a range."""
    return " ".join(str(value).split())


def wanted(current, before, least, exact):
    """The parameters that must be set, judged by their values before the first run.

    >>> wanted({"a": "5", "b": "9"}, {}, {"a": 7, "b": 7, "absent": 1}, {})
    {'a': '7'}
    """
    values = {}
    for name, least_value in least.items():
        if name in current and int(before.get(name, current[name])) < int(least_value):
            values[name] = str(least_value)
    for name, value in exact.items():
        if name in current and normal(before.get(name, current[name])) != normal(value):
            values[name] = normal(value)
    return dict(sorted(values.items()))


def listing(values):
    """A file of /etc/sysctl.d."""
    return HEADER + "".join(f"{name} = {value}\n" for name, value in values.items()) if values else ""


def main():
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "least": {"type": "dict", "default": {}},
            "exact": {"type": "dict", "default": {}},
            "file": {"type": "path", "required": True},
            "record": {"type": "path", "required": True},
            "root": {"type": "path", "default": "/proc/sys"},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        },
        supports_check_mode=True,
    )
    params = module.params
    file, record, root = Path(params["file"]), Path(params["record"]), Path(params["root"])
    before = json.loads(record.read_text()) if record.exists() else {}
    current = {}
    for name in {*params["least"], *params["exact"], *before}:
        path = root / name.replace(".", "/")
        if path.exists():
            current[name] = normal(path.read_text())
    text = file.read_text() if file.exists() else ""
    if params["state"] == "present":
        values = wanted(current, before, params["least"], params["exact"])
        new_text = listing(values)
        to_set = {name: value for name, value in values.items() if not satisfied(current[name], value, name, params)}
    else:
        values = {}
        new_text = ""
        ours = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
        # A value that someone changed after us is theirs.
        to_set = {n: v for n, v in before.items() if n in current and current[n] == ours.get(n) and current[n] != v}
    changed = new_text != text or bool(to_set) or (params["state"] == "absent" and record.exists())
    if changed and not module.check_mode:
        if params["state"] == "present":
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps({**{name: current[name] for name in values}, **before}, indent=1) + "\n")
        for name, value in to_set.items():
            try:
                (root / name.replace(".", "/")).write_text(value + "\n")
            except OSError as error:
                module.fail_json(msg=f"cannot set {name} = {value}: {error.strerror}")
        if new_text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(new_text)
            file.chmod(0o644)
        else:
            file.unlink(missing_ok=True)
        if params["state"] == "absent":
            record.unlink(missing_ok=True)
    diff = [{"before": text, "after": new_text, "before_header": str(file), "after_header": str(file)}]
    if to_set:
        old = "".join(f"{name} = {current[name]}\n" for name in to_set)
        new = "".join(f"{name} = {value}\n" for name, value in to_set.items())
        diff.append({"before": old, "after": new, "before_header": "in effect", "after_header": "in effect"})
    module.exit_json(changed=changed, values=values, diff=diff if changed else [])


def satisfied(current, value, name, params):
    """Whether the value in effect is good enough."""
    if name in params["least"]:
        return int(current) >= int(value)
    return current == value


if __name__ == "__main__":
    main()
