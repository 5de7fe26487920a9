"""Can the user open /dev/net/tun? The node's way out and the encrypted mesh both need it."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, pairs, playbook

COMMAND = """
if [ ! -e /dev/net/tun ]; then say rights missing; say open -
else
  set -- $(ls -ln /dev/net/tun); say rights "$1"
  if error=$( ( : <> /dev/net/tun ) 2>&1 ); then say open works; else say open "$error"; fi
fi
"""

REASONS = {
    "Permission denied": "EACCES",
    "No such device": "ENODEV",
    "Operation not permitted": "EPERM",
    "No such file": "ENOENT",
}


@dataclass(frozen=True)
class Tun:
    """`rights` "" is missing; `error` "" means that it opens for reading and writing."""

    rights: str
    error: str


def parse(text: str) -> Tun:
    """Read the answer."""
    answer = pairs("tun", text, ["rights", "open"])
    if answer["rights"] == "missing":
        return Tun("", "ENOENT")
    if answer["open"] == "works":
        return Tun(answer["rights"], "")
    name = next((name for words, name in REASONS.items() if words in answer["open"]), answer["open"])
    return Tun(answer["rights"], name)


def judge(answer: Tun, _need: Need) -> list[Problem]:
    """It must open."""
    if not answer.error:
        return []
    if not answer.rights:
        return [Problem("/dev/net/tun does not exist", playbook("tun"))]
    return [Problem(f"/dev/net/tun is not accessible ({answer.error}; {answer.rights})", playbook("tun"))]
