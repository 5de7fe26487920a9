"""Can the node limit what pods use? Only with cgroup v2 controllers that were delegated to the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, Severity, pairs, playbook

COMMAND = """
mode=none
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mode=v2
elif [ -e /sys/fs/cgroup/unified/cgroup.procs ]; then mode=hybrid
elif [ -d /sys/fs/cgroup/memory ] || [ -d /sys/fs/cgroup/systemd ]; then mode=v1; fi
own=-
while IFS= read -r line; do case $line in 0::*) own=${line#0::} ;; esac; done < /proc/self/cgroup
say mode $mode; say own "$own"
own_controllers=- own_writable=no
if [ $mode = v2 ] && [ -d "/sys/fs/cgroup$own" ]; then
  read -r own_controllers < "/sys/fs/cgroup$own/cgroup.controllers" || own_controllers=-
  if [ "$uid" != 0 ] && [ -w "/sys/fs/cgroup$own" ] && [ -w "/sys/fs/cgroup$own/cgroup.procs" ] &&
     [ -w "/sys/fs/cgroup$own/cgroup.subtree_control" ]; then
    own_writable=yes
  fi
fi
say own_controllers "$own_controllers"; say own_writable $own_writable
unit=/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service
unit_controllers=- unit_writable=no
if [ $mode = v2 ] && [ -d $unit ]; then
  read -r unit_controllers < $unit/cgroup.controllers || unit_controllers=-
  if [ "$uid" != 0 ] && [ -w $unit ]; then unit_writable=yes; fi
fi
say unit_controllers "$unit_controllers"; say unit_writable $unit_writable
manager=/run/user/$uid scope=-
if [ ! -S $manager/systemd/private ]; then manager=${XDG_RUNTIME_DIR:--}; fi
if [ ! -S "$manager/systemd/private" ]; then manager=-; fi
if [ "$manager" != - ] && [ $unit_writable = yes ]; then
  # A job has often neither variable, though the user's systemd runs.
  scope=$(XDG_RUNTIME_DIR=$manager DBUS_SESSION_BUS_ADDRESS=unix:path=$manager/bus timeout 20 \
    systemd-run --user --scope --quiet --collect --property=Delegate=yes true 2>&1 < /dev/null)
  if [ $? = 0 ]; then scope=ok; else scope=${scope:-no answer}; fi
fi
say manager "$manager"; say scope "$scope"
"""

WANTED = ("cpu", "memory", "pids")


@dataclass(frozen=True)
class Cgroups:
    """What the user may write to.

    `own` is the cgroup of the probe, as in /proc/self/cgroup (v2 part); `unit` is the user's systemd instance, and
    `manager` the folder where it listens (what XDG_RUNTIME_DIR has to say), "" when none runs. `scope` is "ok" when it
    has given the probe a scope, else what it said. `via` is how a node gets limits: from its own cgroup when the batch
    system delegated it ("flux sdexec" or "own cgroup"), from "systemd user", or "" when there is no way.
    """

    mode: Literal["v2", "hybrid", "v1", "none"]
    own: str
    own_controllers: tuple[str, ...]
    own_writable: bool
    unit_controllers: tuple[str, ...]
    unit_writable: bool
    manager: str
    scope: str

    @property
    def via(self) -> str:
        """The way to limits: "flux sdexec", "own cgroup", "systemd user" or ""."""
        by_systemd = self.unit_writable and self.scope == "ok" and set(WANTED) <= set(self.unit_controllers)
        # What belongs to the user's systemd is asked of it, and not taken: it would put its own things in the way.
        if by_systemd and "/user@" in self.own:
            return "systemd user"
        if self.own_writable and set(WANTED) <= set(self.own_controllers):
            return "flux sdexec" if "flux" in self.own or "imp-shell" in self.own else "own cgroup"
        return "systemd user" if by_systemd else ""

    @property
    def delegated(self) -> tuple[str, ...]:
        """The controllers that the node can use."""
        if not self.via:
            return ()
        return self.unit_controllers if self.via == "systemd user" else self.own_controllers

    def why_not(self) -> str:
        """Why there are no limits, or ""."""
        if self.via:
            return ""
        if self.mode != "v2":
            return {"hybrid": "cgroups are v1 with a v2 mount (hybrid)", "v1": "cgroups are v1"}.get(
                self.mode, "no cgroups are mounted"
            )
        if self.unit_writable and self.manager:
            lacking = ", ".join(name for name in WANTED if name not in self.unit_controllers)
            if lacking:
                return f"cgroup v2 controllers not delegated to the user: {lacking}"
            return f"the user's systemd gives no scope: {self.scope}"
        return "no cgroup is delegated to this session"


def parse(text: str) -> Cgroups:
    """Read the answer."""
    keys = ["mode", "own", "own_controllers", "own_writable", "unit_controllers", "unit_writable", "manager", "scope"]
    answer = pairs("cgroups", text, keys)
    mode = answer["mode"]
    if mode not in {"v2", "hybrid", "v1", "none"}:
        raise NotUnderstood("cgroups", f"mode={mode}")
    return Cgroups(
        mode,  # type: ignore[arg-type]
        "" if answer["own"] == "-" else answer["own"],
        _names(answer["own_controllers"]),
        answer["own_writable"] == "yes",
        _names(answer["unit_controllers"]),
        answer["unit_writable"] == "yes",
        "" if answer["manager"] == "-" else answer["manager"],
        "" if answer["scope"] == "-" else answer["scope"],
    )


def _names(value: str) -> tuple[str, ...]:
    return () if value == "-" else tuple(value.split())


def judge(answer: Cgroups, need: Need) -> list[Problem]:
    """Without delegation the cluster runs, but limits of pods are not enforced."""
    reason = answer.why_not()
    if not reason:
        return []
    severity: Severity = "problem" if need.limits_required else "warning"
    if answer.mode == "v2":
        # A job of Flux's own service gets a cgroup by sdexec; one of a login by the user's systemd.
        remedy = playbook("flux" if "flux" in answer.own else "cgroup_delegation")
    else:
        remedy = "boot the host with systemd.unified_cgroup_hierarchy=1 (cgroup v2), then " + playbook(
            "cgroup_delegation"
        )
    return [Problem(f"resource limits of pods are not enforced: {reason}", remedy, severity=severity)]
