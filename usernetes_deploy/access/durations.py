"""Lengths of time as people write them: ``90m``, ``8h``, ``2d``."""

from __future__ import annotations

import re

from usernetes_deploy.errors import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FORM = re.compile(r"(\d{1,6})([smhd])")


def seconds(text: str, what: str) -> int:
    """Seconds of `text`; raises `UsageError` that begins with `what` (a flag or a field).

    >>> seconds("8h", "--for")
    28800
    """
    found = FORM.fullmatch(text)
    if not found:
        raise UsageError(f"{what}: expected a time as 30m, 8h or 2d, got {text!r}")
    return int(found[1]) * UNITS[found[2]]


def shown(length: float) -> str:
    """A length of time in seconds, for people, in whole units of the largest that fits.

    >>> [shown(number) for number in (59, 5400, 28800, 200000)]
    ['59s', '90m', '8h', '2d']
    """
    for unit, least in (("d", 2 * 86400), ("h", 2 * 3600), ("m", 2 * 60)):
        if length >= least:
            return f"{int(length // UNITS[unit])}{unit}"
    return f"{max(0, int(length))}s"
