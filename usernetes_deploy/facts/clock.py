"""What time is it there? Certificates and etcd want clocks that agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from usernetes_deploy.facts.base import Need, Problem, number, pairs

COMMAND = """
say epoch "$(date +%s)"
"""

MOST_SKEW = 5.0


@dataclass(frozen=True)
class Clock:
    """`epoch` in seconds as the host said, between `asked` and `answered` of the driver's own clock (None: unknown)."""

    epoch: int
    asked: float | None = None
    answered: float | None = None

    def ahead(self) -> tuple[float, float]:
        """By how many seconds the host is ahead of the driver: at least, at most.

        >>> Clock(epoch=1012, asked=1000.0, answered=1001.5).ahead()
        (10.5, 13.0)
        """
        if self.asked is None or self.answered is None:
            return (float(self.epoch), float(self.epoch + 1))
        return (self.epoch - self.answered, self.epoch + 1 - self.asked)


def parse(text: str) -> Clock:
    """Read the answer."""
    return Clock(number("clock", "epoch", pairs("clock", text, ["epoch"])["epoch"]))


def with_times(answer: Clock, asked: float | None, answered: float | None) -> Clock:
    """The same answer with the driver's times around it."""
    return replace(answer, asked=asked, answered=answered)


def judge(answer: Clock, _need: Need) -> list[Problem]:
    """Far from the driver's own clock is a problem of this host; hosts are compared in `judge_together`."""
    if answer.asked is None or answer.answered is None:
        return []
    least, most = answer.ahead()
    if least > MOST_SKEW:
        return [Problem(f"the clock is {least:.0f} s ahead of this machine's", REMEDY)]
    if most < -MOST_SKEW:
        return [Problem(f"the clock is {-most:.0f} s behind this machine's", REMEDY)]
    return []


REMEDY = "start a time service (chronyd, systemd-timesyncd) on the host"


def judge_together(clocks: Mapping[str, Clock]) -> dict[str, Problem]:
    """The hosts whose clock surely differs by more than 5 s from that of the most hosts, with the difference."""
    found: dict[str, Problem] = {}
    bounds = {node: clock.ahead() for node, clock in clocks.items()}
    if len(bounds) < 2:
        return found
    middles = sorted((least + most) / 2 for least, most in bounds.values())
    median = middles[(len(middles) - 1) // 2]
    reference = min(bounds.values(), key=lambda bound: abs((bound[0] + bound[1]) / 2 - median))
    for node, (least, most) in bounds.items():
        if least - reference[1] > MOST_SKEW:
            found[node] = Problem(f"the clock is {least - reference[1]:.0f} s ahead of the other hosts'", REMEDY)
        elif reference[0] - most > MOST_SKEW:
            found[node] = Problem(f"the clock is {reference[0] - most:.0f} s behind the other hosts'", REMEDY)
    return found
