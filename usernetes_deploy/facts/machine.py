"""How many processors and how much memory has the host, and how many may this session use?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy import cpus
from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, number, pairs, size

COMMAND = """
say online "$(getconf _NPROCESSORS_ONLN)"
allowed=- total=- available=- swap=-
while read -r key value rest; do case $key in Cpus_allowed_list:) allowed=$value ;; esac; done < /proc/self/status
while read -r key value rest; do
  case $key in MemTotal:) total=$value ;; MemAvailable:) available=$value ;; SwapTotal:) swap=$value ;; esac
done < /proc/meminfo
say allowed $allowed; say total_kib $total; say available_kib $available; say swap_kib $swap
"""


@dataclass(frozen=True)
class Machine:
    """`cpus` are those that this session may run on, of `online` ones; `allowed` their list; sizes in bytes."""

    cpus: int
    online: int
    allowed: str
    memory: int
    available: int
    swap: int


def parse(text: str) -> Machine:
    """Read the answer."""
    answer = pairs("machine", text, ["online", "allowed", "total_kib", "available_kib", "swap_kib"])
    return Machine(
        cpus=_count(answer["allowed"]),
        online=number("machine", "online", answer["online"]),
        allowed=answer["allowed"],
        memory=number("machine", "total_kib", answer["total_kib"]) * 1024,
        available=number("machine", "available_kib", answer["available_kib"]) * 1024,
        swap=number("machine", "swap_kib", answer["swap_kib"]) * 1024,
    )


def _count(cpu_list: str) -> int:
    """How many processors ``0-3,8`` are: 5."""
    try:
        return len(cpus.parse(cpu_list))
    except ValueError as error:
        raise NotUnderstood("machine", f"allowed={cpu_list}") from error


def judge(answer: Machine, need: Need) -> list[Problem]:
    """Enough memory must be free now."""
    if answer.available < need.memory:
        return [
            Problem(
                f"{size(answer.available)} of memory are available, {size(need.memory)} are needed",
                "ask the batch system for more memory, or take another node",
            )
        ]
    return []
