"""Which resource limits does a process of this user start with?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, warning

COMMAND = """
while IFS= read -r line; do printf '%s\\n' "$line"; done < /proc/self/limits
"""

NAMES = {
    "Max locked memory": "memlock",
    "Max open files": "nofile",
    "Max stack size": "stack",
    "Max processes": "nproc",
}
MiB = 1024**2


@dataclass(frozen=True)
class Limit:
    """Soft and hard limit; None is unlimited."""

    soft: int | None
    hard: int | None

    def reaches(self, least: int) -> bool:
        """The hard limit, up to which a process may raise its own, is at least `least`."""
        return self.hard is None or self.hard >= least


@dataclass(frozen=True)
class Limits:
    """Bytes for `memlock` and `stack`, counts for the others."""

    memlock: Limit
    nofile: Limit
    stack: Limit
    nproc: Limit


def parse(text: str) -> Limits:
    """Read the answer, a copy of /proc/self/limits."""
    found: dict[str, Limit] = {}
    for line in text.splitlines():
        match = re.match(r"(Max [a-z]+(?: [a-z]+)*|Limit) +(\S+(?: Limit)?) +(\S+(?: Limit)?)", line)
        if not match:
            raise NotUnderstood("limits", line)
        if match[1] in NAMES:
            found[NAMES[match[1]]] = Limit(_value(line, match[2]), _value(line, match[3]))
    missing = sorted(set(NAMES.values()) - set(found))
    if missing:
        raise NotUnderstood("limits", text[-200:], f"without {', '.join(missing)}")
    return Limits(**found)


def _value(line: str, value: str) -> int | None:
    if value == "unlimited":
        return None
    if not value.isdigit():
        raise NotUnderstood("limits", line)
    return int(value)


def judge(answer: Limits, _need: Need) -> list[Problem]:
    """Only too few files stop a node."""
    found = []
    site = "raise it in /etc/security/limits.d or in the batch system's configuration"
    if not answer.nofile.reaches(4096):
        found.append(Problem(f"open files are limited to {answer.nofile.hard}: 4096 or more are needed", site))
    elif not answer.nofile.reaches(65536):
        found.append(warning(f"open files are limited to {answer.nofile.hard}", site))
    if not answer.nproc.reaches(4096):
        found.append(warning(f"processes are limited to {answer.nproc.hard}", site))
    if not answer.memlock.reaches(64 * MiB):
        kib = (answer.memlock.hard or 0) // 1024
        found.append(warning(f"locked memory is limited to {kib} KiB: RDMA in pods may fail", site))
    if not answer.stack.reaches(8 * MiB):
        found.append(warning(f"the stack is limited to {(answer.stack.hard or 0) // 1024} KiB", site))
    return found
