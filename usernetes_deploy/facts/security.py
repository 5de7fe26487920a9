"""Is something around this session that takes rights away: no_new_privs, seccomp, SELinux, AppArmor?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, maybe_number, pairs, warning

COMMAND = """
no_new_privs=- seccomp=-
while read -r key value rest; do
  case $key in NoNewPrivs:) no_new_privs=$value ;; Seccomp:) seccomp=$value ;; esac
done < /proc/self/status
say no_new_privs $no_new_privs; say seccomp $seccomp
peek selinux /sys/fs/selinux/enforce
peek label /proc/self/attr/current
"""


@dataclass(frozen=True)
class Security:
    """`seccomp` 0 is off, 2 a filter; `label` is the SELinux context or AppArmor profile, "" without either."""

    no_new_privs: bool
    seccomp: int
    selinux_enforcing: bool
    label: str


def parse(text: str) -> Security:
    """Read the answer."""
    answer = pairs("security", text, ["no_new_privs", "seccomp", "selinux", "label"])
    return Security(
        bool(maybe_number("security", "no_new_privs", answer["no_new_privs"])),
        maybe_number("security", "seccomp", answer["seccomp"]) or 0,
        bool(maybe_number("security", "selinux", answer["selinux"])),
        "" if answer["label"] == "-" else answer["label"],
    )


def judge(answer: Security, _need: Need) -> list[Problem]:
    """no_new_privs makes newuidmap powerless; a confined SELinux user may be stopped anywhere."""
    found = []
    if answer.no_new_privs:
        found.append(
            Problem(
                "no_new_privs is set on this session: newuidmap cannot map ids",
                "start the session without it (a container's --security-opt, systemd's NoNewPrivileges=, a sandbox)",
            )
        )
    if answer.selinux_enforcing and answer.label and ":unconfined_t:" not in answer.label:
        found.append(
            warning(
                f"SELinux enforces a policy on this session ({answer.label})",
                "if a node fails with EACCES, look for it with `ausearch -m avc`",
            )
        )
    return found
