"""Is nft here and new enough for kube-proxy? Whether the kernel lets a user use it is asked in `modules`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, pairs, playbook, version_tuple

COMMAND = """
if path=$(command -v nft); then say path "$path"; say version "$(nft --version 2>&1)"
else say path missing; say version -; fi
"""

OLDEST = (1, 0, 1)


@dataclass(frozen=True)
class Nftables:
    """`path` "" is missing."""

    path: str
    version: str


def parse(text: str) -> Nftables:
    """Read the answer."""
    answer = pairs("nftables", text, ["path", "version"])
    if answer["path"] == "missing":
        return Nftables("", "")
    match = re.match(r"nftables v(\d[\w.]*)", answer["version"])
    if not match:
        raise NotUnderstood("nftables", f"version={answer['version']}")
    return Nftables(answer["path"], match.group(1))


def judge(answer: Nftables, _need: Need) -> list[Problem]:
    """kube-proxy refuses to run with an nft before 1.0.1."""
    if not answer.path:
        return [Problem("nft is not installed", playbook("prerequisites"))]
    if version_tuple(answer.version) < OLDEST:
        remedy = "take nodes with a newer one: RHEL 8.8, Debian 12, Ubuntu 22.04 or later"
        return [Problem(f"nft {answer.version} is too old: 1.0.1 or newer is needed", remedy)]
    return []
