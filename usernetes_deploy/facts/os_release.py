"""Which distribution is it? Decides the package names in remedies; nothing is refused for it."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, pairs

COMMAND = """
ID=- ID_LIKE=- VERSION_ID=- PRETTY_NAME=-
for file in /etc/os-release /usr/lib/os-release; do [ -r $file ] && { . $file; break; }; done
say id "$ID"; say like "$ID_LIKE"; say version "$VERSION_ID"; say title "$PRETTY_NAME"
"""

FAMILIES = {"debian": "debian", "ubuntu": "debian", "rhel": "rhel", "fedora": "rhel", "centos": "rhel", "suse": "suse"}


@dataclass(frozen=True)
class OsRelease:
    """`family` is debian, rhel, suse or "" (unknown); `title` is the name for people."""

    id: str
    version: str
    family: str
    title: str


def parse(text: str) -> OsRelease:
    """Read the answer."""
    answer = pairs("os_release", text, ["id", "like", "version", "title"])
    names = [answer["id"], *answer["like"].split()]
    family = next((FAMILIES[name] for name in names if name in FAMILIES), "")
    return OsRelease(answer["id"], answer["version"], family, answer["title"])


def judge(_answer: OsRelease, _need: Need) -> list[Problem]:
    """Any distribution will do if the other facts are good."""
    return []
