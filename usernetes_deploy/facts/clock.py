"""What time is it there? Certificates and etcd want clocks that agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from usernetes_deploy.facts.base import Need, Problem, number, pairs, warning

COMMAND = """
say epoch "$(date +%s)"
"""

MOST_SKEW = 5.0  # seconds
MOST_FROM_DRIVER = 1800.0  # seconds; certificates are dated back by an hour, see `usernetes_deploy.cluster.pki`
REMEDY = "start a time service (chronyd, systemd-timesyncd) on the host"


@dataclass(frozen=True)
class Clock:
    """`epoch` in seconds as the host said, between `asked` and `answered` of the driver's own clock (None: unknown)."""

    epoch: int
    asked: float | None = None
    answered: float | None = None

    def ahead(self) -> tuple[float, float] | None:
        """By how many seconds the host is ahead of the driver: at least, at most; None when nobody looked.

        >>> Clock(epoch=1012, asked=1000.0, answered=1001.5).ahead()
        (10.5, 13.0)
        """
        if self.asked is None or self.answered is None:
            return None
        return (self.epoch - self.answered, self.epoch + 1 - self.asked)


def parse(text: str) -> Clock:
    """Read the answer."""
    return Clock(number("clock", "epoch", pairs("clock", text, ["epoch"])["epoch"]))


def with_times(answer: Clock, asked: float | None, answered: float | None) -> Clock:
    """The same answer with the driver's times around it."""
    return replace(answer, asked=asked, answered=answered)


def judge(answer: Clock, _need: Need) -> list[Problem]:
    """Compare with the driver's own clock, which dates the certificates; hosts are compared in `judge_together`.

    The driver may be a laptop whose clock is wrong itself, and nodes do not talk to it: so up to half of the time that
    certificates are dated back, a difference is a warning.
    """
    found = difference(answer.ahead(), (0.0, 0.0), "this machine's")
    if not found:
        return []
    what, seconds = found
    return [Problem(what, REMEDY) if seconds > MOST_FROM_DRIVER else warning(what, REMEDY)]


def judge_together(clocks: Mapping[str, Clock]) -> dict[str, Problem]:
    """The hosts whose clock surely differs by more than 5 s from that of the most hosts, with the difference.

    Each is compared by how far it is ahead of the driver: they were asked at different times.
    """
    bounds = {node: bound for node, clock in clocks.items() if (bound := clock.ahead())}
    if len(bounds) < 2:
        return {}
    middles = sorted((least + most) / 2 for least, most in bounds.values())
    median = middles[(len(middles) - 1) // 2]
    reference = min(bounds.values(), key=lambda bound: abs((bound[0] + bound[1]) / 2 - median))
    differences = {node: difference(bound, reference, "the other hosts'") for node, bound in bounds.items()}
    return {node: Problem(found[0], REMEDY) for node, found in differences.items() if found}


def difference(
    bound: tuple[float, float] | None, reference: tuple[float, float], whose: str
) -> tuple[str, float] | None:
    """What is wrong with a clock, and by how many seconds at least; None within 5 s, or where nobody can tell.

    >>> difference((98.0, 101.0), (0.0, 1.0), "this machine's")
    ("the clock is 97 s ahead of this machine's", 97.0)
    """
    if bound is None:
        return None
    ahead, behind = bound[0] - reference[1], reference[0] - bound[1]
    if ahead > MOST_SKEW:
        return f"the clock is {ahead:.0f} s ahead of {whose}", ahead
    if behind > MOST_SKEW:
        return f"the clock is {behind:.0f} s behind {whose}", behind
    return None
