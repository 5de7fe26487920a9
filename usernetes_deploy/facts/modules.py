"""Does the kernel let a user's network namespace have nftables and VXLAN? Tried, because lists of modules mislead."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, pairs, playbook

COMMAND = """
nf_tables=- vxlan=-
if [ "$userns" = works ]; then
  if command -v nft >/dev/null; then
    nf_tables=$(unshare -Urn nft add table ip usernetes 2>&1) && nf_tables=works
  fi
  if command -v ip >/dev/null; then
    vxlan=$(unshare -Urn ip link add v0 type vxlan id 1 dstport 4789 2>&1) && vxlan=works
  fi
fi
say nf_tables "$nf_tables"; say vxlan "$vxlan"
overlay=no
while read -r a b; do [ "$a" = nodev ] && [ "$b" = overlay ] && overlay=yes; done < /proc/filesystems
say overlay $overlay
"""


@dataclass(frozen=True)
class Modules:
    """`nf_tables` and `vxlan`: "" works, None could not be tried, else the error.

    `overlay_loaded` says whether the kernel knows the file system already; it may load it when `node_disk` tries it.
    """

    nf_tables: str | None
    vxlan: str | None
    overlay_loaded: bool


def parse(text: str) -> Modules:
    """Read the answer."""
    answer = pairs("modules", text, ["nf_tables", "vxlan", "overlay"])
    return Modules(_tried(answer["nf_tables"]), _tried(answer["vxlan"]), answer["overlay"] == "yes")


def _tried(value: str) -> str | None:
    return {"-": None, "works": ""}.get(value, value)


def judge(answer: Modules, need: Need) -> list[Problem]:
    """nftables always; VXLAN for the network that is made of it."""
    found = []
    if answer.nf_tables:
        found.append(Problem(f"nftables does not work for users: {answer.nf_tables}", playbook("modules")))
    if answer.vxlan and need.network == "flannel":
        found.append(
            Problem(
                f"VXLAN does not work for users: {answer.vxlan}",
                playbook("modules") + ", or choose the network mesh, which does without",
            )
        )
    return found
