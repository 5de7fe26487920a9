"""Which of the kernel's knobs limit a node that root did not prepare?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, maybe_number, pairs, playbook, warning

COMMAND = """
peek port_start /proc/sys/net/ipv4/ip_unprivileged_port_start
peek ping_range /proc/sys/net/ipv4/ping_group_range
peek inotify_instances /proc/sys/fs/inotify/max_user_instances
peek inotify_watches /proc/sys/fs/inotify/max_user_watches
peek map_count /proc/sys/vm/max_map_count
peek keys /proc/sys/kernel/keys/maxkeys
peek dmesg /proc/sys/kernel/dmesg_restrict
"""

LEAST = {"inotify_instances": 128, "inotify_watches": 16384, "keys": 200}
"""Below these a node with some tens of pods runs dry; distributions ship at least as much."""

NAMES = {
    "inotify_instances": "fs.inotify.max_user_instances",
    "inotify_watches": "fs.inotify.max_user_watches",
    "keys": "kernel.keys.maxkeys",
}


@dataclass(frozen=True)
class Sysctls:
    """None where this kernel has no such knob (or hides it); `ping_range` is (first, last) group id."""

    port_start: int | None
    ping_range: tuple[int, int] | None
    inotify_instances: int | None
    inotify_watches: int | None
    map_count: int | None
    keys: int | None
    dmesg: int | None


def parse(text: str) -> Sysctls:
    """Read the answer."""
    keys = ["port_start", "ping_range", "inotify_instances", "inotify_watches", "map_count", "keys", "dmesg"]
    answer = pairs("sysctls", text, keys)
    numbers = {key: maybe_number("sysctls", key, value) for key, value in answer.items() if key != "ping_range"}
    ping = None
    if answer["ping_range"] != "-":
        bounds = answer["ping_range"].split()
        if len(bounds) != 2 or not all(bound.isdigit() for bound in bounds):
            raise NotUnderstood("sysctls", f"ping_range={answer['ping_range']}")
        ping = (int(bounds[0]), int(bounds[1]))
    return Sysctls(ping_range=ping, **numbers)


def judge(answer: Sysctls, _need: Need) -> list[Problem]:
    """Small tables are a warning; a port that may not be bound shows when `ports` tries it."""
    found = []
    for key, least in LEAST.items():
        value = getattr(answer, key)
        if value is not None and value < least:
            found.append(warning(f"{NAMES[key]} = {value} is small: {least} or more", playbook("sysctl")))
    return found
