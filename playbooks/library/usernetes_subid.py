#!/usr/bin/python3
"""Ansible module: give a user subordinate user and group ids that nobody else has, or take back what was given.

DOCUMENTATION, EXAMPLES and RETURN below are what ``ansible-doc`` shows.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: usernetes_subid
short_description: A range of subordinate ids for a user
description:
  - Adds one line to each of /etc/subuid and /etc/subgid when the user has fewer than I(count) ids there.
  - The range starts behind every range that is in either file, so that no two users share an id, and behind every
    user and group that C(getent) lists, so that nobody can act as another person on a shared file system.
  - Directory services (sssd, winbind, ldap) often list nobody. Where /etc/nsswitch.conf names one and C(getent) shows
    nobody but those of the files, where the people's ids end cannot be known; then I(first) must be given.
  - A user who has enough ids already is left alone, whoever gave them.
  - What is given is noted in I(record); only that is taken back by I(state=absent), of all users.
options:
  user: {description: Name of the user (needed unless I(state=absent)), type: str}
  record: {description: Where the given lines are noted, type: path, required: true}
  count: {description: How many ids the user must have at least, type: int, default: 65536}
  first: {description: "No range starts below this; 0 is behind everybody, from 100000 on", type: int, default: 0}
  state: {description: Whether the lines should be there, choices: [present, absent], default: present, type: str}
  subuid: {description: The file of user ids, type: path, default: /etc/subuid}
  subgid: {description: The file of group ids, type: path, default: /etc/subgid}
  nsswitch: {description: Says where users come from, type: path, default: /etc/nsswitch.conf}
author: usernetes-deploy
"""
EXAMPLES = """
- usernetes_subid: {user: alice, record: /var/lib/usernetes/prepare/subid}
"""
RETURN = """
range: {description: "First id and count that were added, if any", type: list, returned: always}
"""


def ranges(text):
    """The ``(owner, first, count)`` of a file's lines; comments and lines of another form are left out.

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


LEAST = 100000
HIGHEST_REAL = 2**32 - 2**17  # above are nobody, -1 and the ids that services make up for a while
# Not directory services: files, and what gives a while's users to virtual machines and services.
FILES_ONLY = {"files", "systemd", "compat", "altfiles", "db", "cache", "mymachines", "libvirt", "libvirt_guest"}


def real_ids(text):
    """The ids of a ``getent passwd`` or ``getent group``, each with its name.

    >>> real_ids("root:x:0:0:root:/root:/bin/sh\\nann:x:123456:100::/home/ann:/bin/sh\\n")
    {0: 'root', 123456: 'ann'}
    """
    fields = [line.split(":") for line in text.splitlines()]
    return {int(f[2]): f[0] for f in fields if len(f) > 3 and f[2].isdigit() and int(f[2]) < HIGHEST_REAL}


def services(text):
    """The directory services that /etc/nsswitch.conf names for users and groups.

    >>> services("passwd: files sss [NOTFOUND=return] ldap\\nhosts: dns\\n")
    ['ldap', 'sss']
    """
    lines = re.findall(r"(?m)^\s*(?:passwd|group)\s*:([^#\n]*)", text)
    return sorted({word for line in lines for word in re.sub(r"\[[^\]]*\]", " ", line).split()} - FILES_ONLY)


def taken(listed, start, count):
    """The names of real users or groups among `count` ids from `start` on."""
    return sorted(name for number, name in listed.items() if start <= number < start + count)


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


def listed(module):
    """All users and groups that the host can list: id -> name."""
    found = {}
    for database in ("passwd", "group"):
        _, out, _ = module.run_command(["getent", database])
        found.update(real_ids(out))
    return found


def behind_people(module):
    """The first id behind all users and groups; fails where a directory service does not list them."""
    people = listed(module)
    path = Path(module.params["nsswitch"])
    asked = services(path.read_text()) if path.exists() else []
    local = {}
    for name in ("passwd", "group"):
        file = Path("/etc", name)
        local.update(real_ids(file.read_text() if file.exists() else ""))
    if asked and not set(people) - set(local):
        module.fail_json(
            msg="users come from {} too, which does not list them: where their ids end cannot be known. "
            "fix: -e usernetes_subid_first=FIRST with a FIRST behind all ids of people".format(", ".join(asked))
        )
    return max([LEAST, *(number + 1 for number in people if number >= LEAST)])


def main():
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str"},
            "count": {"type": "int", "default": 65536},
            "first": {"type": "int", "default": 0},
            "nsswitch": {"type": "path", "default": "/etc/nsswitch.conf"},
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
        first = module.params["first"] or behind_people(module)
        start = next_free(old.values(), first)
        people = taken(listed(module), start, count)
        if people:
            module.fail_json(
                msg="ids {} to {} hold real users or groups: {}; {} could act as them. "
                "fix: -e usernetes_subid_first=FIRST with a FIRST behind all ids of people".format(
                    start, start + count - 1, ", ".join(people[:5]), user
                )
            )
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
