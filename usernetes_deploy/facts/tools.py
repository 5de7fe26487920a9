"""Are the few other programs that a node calls on its host installed?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, entries, playbook

NEEDED = ("ip", "mount", "nsenter", "unshare")

COMMAND = """
for tool in ip iptables mount nsenter unshare; do
  if path=$(command -v $tool); then printf '%s=%s\\n' $tool "$path"; else say $tool missing; fi
done
"""


@dataclass(frozen=True)
class Tools:
    """Where each program is, "" when it is missing."""

    paths: dict[str, str]


def parse(text: str) -> Tools:
    """Read the answer."""
    found = entries("tools", text, [*NEEDED, "iptables"])
    return Tools({name: "" if path == "missing" else path for name, path in found})


def judge(answer: Tools, _need: Need) -> list[Problem]:
    """All that are needed, in one line."""
    missing = [name for name in NEEDED if not answer.paths.get(name)]
    return [Problem(f"not installed: {', '.join(missing)}", playbook("prerequisites"))] if missing else []
