"""Which tool connects the node's network namespace with the host: slirp4netns or pasta, and how old is it?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, pairs, playbook, version_tuple

COMMAND = """
for tool in slirp4netns pasta; do
  if path=$(command -v $tool); then
    # pasta of 2025 ends without flushing what it said into a pipe.
    line=$(stdbuf -oL $tool --version 2>/dev/null | head -n 1)
    say $tool "$path"; say ${tool}_version "${line:-$($tool --version 2>&1 | head -n 1)}"
  else say $tool missing; say ${tool}_version -; fi
done
"""

SLIRP_OLDEST = (0, 4)
PASTA_OLDEST = (2023, 3, 9)
"""Debian 12's, the oldest that was tried; it does not tell its version."""


@dataclass(frozen=True)
class Outer:
    """Paths ("" is missing) and versions; a tool that does not tell its version has ()."""

    slirp4netns: str
    slirp4netns_version: tuple[int, ...]
    pasta: str
    pasta_version: tuple[int, ...]

    def usable(self) -> tuple[str, ...]:
        """The tools that are there and new enough, best first."""
        tools = []
        if self.slirp4netns and self.slirp4netns_version >= SLIRP_OLDEST:
            tools.append("slirp4netns")
        if self.pasta and (not self.pasta_version or self.pasta_version >= PASTA_OLDEST):
            tools.append("pasta")
        return tuple(tools)


def parse(text: str) -> Outer:
    """Read the answer."""
    answer = pairs("outer", text, ["slirp4netns", "slirp4netns_version", "pasta", "pasta_version"])
    date = re.search(r"(20\d\d)_?(\d\d)_?(\d\d)", answer["pasta_version"])
    return Outer(
        "" if answer["slirp4netns"] == "missing" else answer["slirp4netns"],
        version_tuple(answer["slirp4netns_version"].removeprefix("slirp4netns version ")),
        "" if answer["pasta"] == "missing" else answer["pasta"],
        tuple(int(part) for part in date.groups()) if date else (),
    )


def judge(answer: Outer, need: Need) -> list[Problem]:
    """One of them, or the one that the spec names."""
    usable = answer.usable()
    if need.outer == "auto":
        if usable:
            return []
        return [Problem("neither slirp4netns nor a pasta of 2023-03-09 or later is here", playbook("prerequisites"))]
    if need.outer in usable:
        return []
    instead = f"or choose the outer network {usable[0]}" if usable else ""
    there = answer.pasta if need.outer == "pasta" else answer.slirp4netns
    what = f"{there} is too old, or does not tell its version" if there else f"{need.outer} is not installed"
    return [Problem(what, " ".join(part for part in (playbook("prerequisites"), instead) if part))]
