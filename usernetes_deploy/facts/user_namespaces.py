"""May this user make a user namespace and mount in it? Tried for real; the kernel's switches say why it failed."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, maybe_number, pairs, playbook

# The prelude of the script has tried `unshare -Urm mount` already: other questions depend on it.
COMMAND = """
say try "$userns"
peek clone /proc/sys/kernel/unprivileged_userns_clone
peek max /proc/sys/user/max_user_namespaces
peek apparmor /proc/sys/kernel/apparmor_restrict_unprivileged_userns
if [ -e /etc/apparmor.d/usernetes ]; then say profile yes; else say profile no; fi
"""


@dataclass(frozen=True)
class UserNamespaces:
    """`error` is "" when a namespace with a mount in it could be made; the switches are None where there is none."""

    error: str
    clone: int | None
    max: int | None
    apparmor_restricted: bool
    apparmor_profile: bool

    @property
    def works(self) -> bool:
        """A user namespace could be made and mounted in by any program."""
        return not self.error


def parse(text: str) -> UserNamespaces:
    """Read the answer."""
    fact = "user_namespaces"
    answer = pairs(fact, text, ["try", "clone", "max", "apparmor", "profile"])
    return UserNamespaces(
        error="" if answer["try"] == "works" else answer["try"].removeprefix("fails: "),
        clone=maybe_number(fact, "clone", answer["clone"]),
        max=maybe_number(fact, "max", answer["max"]),
        apparmor_restricted=(maybe_number(fact, "apparmor", answer["apparmor"]) or 0) > 0,
        apparmor_profile=answer["profile"] == "yes",
    )


def judge(answer: UserNamespaces, _need: Need) -> list[Problem]:
    """The failed try, with the switch that explains it."""
    if answer.works:
        return []
    what = "user namespaces are off for users"
    if answer.clone == 0:
        return [Problem(f"{what}: kernel.unprivileged_userns_clone = 0", playbook("sysctl"))]
    if answer.max == 0:
        return [Problem(f"{what}: user.max_user_namespaces = 0", playbook("sysctl"))]
    if answer.apparmor_restricted:
        if answer.apparmor_profile:
            # The try was made by `unshare`; the profile is for the bundle's rootlesskit only.
            return []
        return [
            Problem(
                f"{what}: kernel.apparmor_restrict_unprivileged_userns = 1 and no profile for usernetes",
                playbook("apparmor_userns"),
            )
        ]
    return [
        Problem(
            f"a user namespace cannot be made: {answer.error}",
            "a container or a security policy around this shell forbids it; ask whoever set it up",
        )
    ]
