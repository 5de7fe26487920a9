"""Who runs the node? An ordinary user: root would give the node rights that it must not have."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, number, pairs

COMMAND = """
say name "$me"; say uid "$uid"; say gid "$gid"; say home "${HOME:--}"; say runtime_dir "${XDG_RUNTIME_DIR:--}"
"""


@dataclass(frozen=True)
class User:
    """`runtime_dir` is $XDG_RUNTIME_DIR, "" when it is unset (as in most batch jobs)."""

    name: str
    uid: int
    gid: int
    home: str
    runtime_dir: str


def parse(text: str) -> User:
    """Read the answer."""
    answer = pairs("user", text, ["name", "uid", "gid", "home", "runtime_dir"])
    return User(
        answer["name"],
        number("user", "uid", answer["uid"]),
        number("user", "gid", answer["gid"]),
        "" if answer["home"] == "-" else answer["home"],
        "" if answer["runtime_dir"] == "-" else answer["runtime_dir"],
    )


def judge(answer: User, _need: Need) -> list[Problem]:
    """Refuse root."""
    if answer.uid == 0:
        return [Problem("the node would run as root", "call it as an ordinary user with subordinate ids")]
    return []
