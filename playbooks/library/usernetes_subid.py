#!/usr/bin/python3
"""Ansible module: give a user subordinate user and group ids that nobody else has, or take back what was given.

DOCUMENTATION, EXAMPLES and RETURN below are what ``ansible-doc`` shows.
"""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: usernetes_subid
short_description: A range of subordinate ids for a user
description:
  - Adds one line to each of /etc/subuid and /etc/subgid when the user has fewer than I(count) ids there.
  - The range starts behind every range that is in either file, so that no two users share an id.
  - A user who has enough ids already is left alone, whoever gave them.
options:
  user: {description: Name of the user, required: true, type: str}
  count: {description: How many ids the user must have at least, type: int, default: 65536}
  first: {description: No range starts below this, type: int, default: 100000}
  state: {description: Whether the lines should be there, choices: [present, absent], default: present, type: str}
  subuid: {description: The file of user ids, type: path, default: /etc/subuid}
  subgid: {description: The file of group ids, type: path, default: /etc/subgid}
author: usernetes-deploy
"""
EXAMPLES = """
- usernetes_subid: {user: alice}
"""
RETURN = """
range: {description: "First id and count that were added, if any", type: list, returned: always}
"""


def ranges(text):
    """The ``(owner, first, count)`` of a file's lines; comments and broken lines are nobody's.

    >>> ranges("alice:100000:65536\\n# bob:1:2\\n")
    [('alice', 100000, 65536)]
    """
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit() and not line.lstrip().startswith("#"):
            found.append((fields[0], int(fields[1]), int(fields[2])))
    return found


def enough(text, names, count):
    """Whether the ranges of one user (known by any of `names`) hold `count` ids."""
    return sum(size for owner, _, size in ranges(text) if owner in names) >= count


def next_free(texts, first):
    """The first id behind all ranges of all files."""
    return max([first, *(start + size for text in texts for _, start, size in ranges(text))])


def with_line(text, line):
    """The file with one more line."""
    return text + ("\n" if text and not text.endswith("\n") else "") + line + "\n"


def without(text, names):
    """The file without the lines of a user."""
    return "".join(line for line in text.splitlines(keepends=True) if line.split(":")[0].strip() not in names)


def main():
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "count": {"type": "int", "default": 65536},
            "first": {"type": "int", "default": 100000},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "subuid": {"type": "path", "default": "/etc/subuid"},
            "subgid": {"type": "path", "default": "/etc/subgid"},
        },
        supports_check_mode=True,
    )
    user = module.params["user"]
    names = {user}
    code, out, _ = module.run_command(["id", "-u", user])
    if code == 0:
        names.add(out.strip())
    paths = [Path(module.params[key]) for key in ("subuid", "subgid")]
    old = [path.read_text() if path.exists() else "" for path in paths]
    added = []
    if module.params["state"] == "absent":
        new = [without(text, names) for text in old]
    elif all(enough(text, names, module.params["count"]) for text in old):
        new = old
    else:
        start = next_free(old, module.params["first"])
        if start + module.params["count"] > 2**32 - 1:
            module.fail_json(msg=f"no room for {module.params['count']} ids behind {start}: ids end at 4294967294")
        added = [start, module.params["count"]]
        line = f"{user}:{start}:{module.params['count']}"
        new = [text if enough(text, names, module.params["count"]) else with_line(text, line) for text in old]
    changed = new != old
    if changed and not module.check_mode:
        for path, before, after in zip(paths, old, new):
            if after != before:
                temporary = path.with_name(path.name + ".usernetes")
                temporary.write_text(after)
                temporary.chmod(0o644)
                module.atomic_move(str(temporary), str(path))
    diff = [
        {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
        for path, before, after in zip(paths, old, new)
        if before != after
    ]
    module.exit_json(changed=changed, range=added, diff=diff)


if __name__ == "__main__":
    main()
