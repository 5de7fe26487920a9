"""Lists of CPUs as the kernel writes them: ``0-3,8``. Nodes use this module too (Python 3.9, standard library)."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST = 1 << 14
"""No kernel numbers its CPUs higher (the largest NR_CPUS is 8192); a list that does is a mistake."""


def parse(text: str) -> frozenset[int]:
    """The CPUs of a list. Raises `ValueError`, whose text says what is wrong with it.

    >>> sorted(parse("0-1, 8"))
    [0, 1, 8]
    >>> parse("0-99999999")
    Traceback (most recent call last):
        ...
    ValueError: expected CPUs as in 0-1,8 with numbers below 16384, got '0-99999999'
    """
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not first <= last < MOST:
            raise ValueError(f"expected CPUs as in 0-1,8 with numbers below {MOST}, got {text!r}")
        found.update(range(first, last + 1))
    return frozenset(found)


def text_of(cpus: Iterable[int]) -> str:
    """The list that `parse` reads.

    >>> text_of({8, 1, 0})
    '0,1,8'
    """
    return ",".join(map(str, sorted(cpus)))
