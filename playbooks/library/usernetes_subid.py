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
  - What is given is noted in I(record); only that is taken back by I(state=absent), of all users.
options:
  user: {description: Name of the user (needed unless I(state=absent)), type: str}
  record: {description: Where the given lines are noted, type: path, required: true}
  count: {description: How many ids the user must have at least, type: int, default: 65536}
  first: {description: No range starts below this, type: int, default: 100000}
  state: {description: Whether the lines should be there, choices: [present, absent], default: present, type: str}
  subuid: {description: The file of user ids, type: path, default: /etc/subuid}
  subgid: {description: The file of group ids, type: path, default: /etc/subgid}
author: usernetes-deploy
"""
EXAMPLES = """
- usernetes_subid: {user: alice, record: /var/lib/usernetes/prepare/subid}
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


def without(text, given):
    r"""The file without the lines that were given, each once.

    >>> without("alice:100000:65536\nbob:165536:65536\n", ["bob:165536:65536"])
    'alice:100000:65536\n'
    """
    left = list(given)
    kept = []
    for line in text.splitlines(keepends=True):
        if line.strip() in left:
            left.remove(line.strip())
        else:
            kept.append(line)
    return "".join(kept)


def main():
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str"},
            "count": {"type": "int", "default": 65536},
            "first": {"type": "int", "default": 100000},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "subuid": {"type": "path", "default": "/etc/subuid"},
            "subgid": {"type": "path", "default": "/etc/subgid"},
            "record": {"type": "path", "required": True},
        },
        required_if=[("state", "present", ["user"])],
        supports_check_mode=True,
    )
    user = module.params["user"]
    names = {user}
    code, out, _ = module.run_command(["id", "-u", user]) if user else (1, "", "")
    if code == 0:
        names.add(out.strip())
    old = {Path(module.params[key]): "" for key in ("subuid", "subgid")}
    old = {path: path.read_text() if path.exists() else "" for path in old}
    record = Path(module.params["record"])
    given = record.read_text().split() if record.exists() else []
    count = module.params["count"]
    added = []
    if module.params["state"] == "absent":
        new = {path: without(text, given) for path, text in old.items()}
    elif all(enough(text, names, count) for text in old.values()):
        new = old
    else:
        start = next_free(old.values(), module.params["first"])
        if start + count > 2**32 - 1:
            module.fail_json(msg=f"no room for {count} ids behind {start}: ids end at 4294967294")
        added = [start, count]
        line = f"{user}:{start}:{count}"
        new = {path: text if enough(text, names, count) else with_line(text, line) for path, text in old.items()}
    differing = [path for path in old if old[path] != new[path]]
    changed = bool(differing) or (module.params["state"] == "absent" and record.exists())
    if changed and not module.check_mode:
        if added:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text("".join(f"{item}\n" for item in [*given, line]))
        elif module.params["state"] == "absent":
            record.unlink(missing_ok=True)
        for path in differing:
            temporary = path.with_name(path.name + ".usernetes")
            temporary.write_text(new[path])
            temporary.chmod(0o644)
            module.atomic_move(str(temporary), str(path))
    diff = [
        {"before": old[path], "after": new[path], "before_header": str(path), "after_header": str(path)}
        for path in differing
    ]
    module.exit_json(changed=changed, range=added, diff=diff)


if __name__ == "__main__":
    main()
