"""Which Python runs the node program? The first one on the host that is 3.9 or newer."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, entries, playbook, version_tuple

# The prelude has looked for it, because asking about ports needs it as well.
COMMAND = """
say command "${python:--}"; say version "${python_version:--}"; say newest "${python_newest:--}"
"""


@dataclass(frozen=True)
class Python:
    """`command` is what to call, "" when there is none that is new enough; `newest` is what was found instead."""

    command: str
    version: str
    newest: str


def parse(text: str) -> Python:
    """Read the answer."""
    answer = dict(entries("python", text, ["command", "version", "newest"]))
    if len(answer) != 3:
        raise NotUnderstood("python", text.strip())
    command, version, newest = ("" if value == "-" else value for value in answer.values())
    if version and version_tuple(version) < (3, 9):
        raise NotUnderstood("python", f"version={version}", "older than the script accepts")
    return Python(command, version, newest)


def judge(answer: Python, _need: Need) -> list[Problem]:
    """There must be one."""
    if answer.command:
        return []
    what = f"Python {answer.newest} is too old" if answer.newest else "Python is not installed"
    return [Problem(f"{what}: 3.9 or newer is needed", playbook("prerequisites"))]
