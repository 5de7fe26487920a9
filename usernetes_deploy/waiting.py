"""Waiting in one place: `until` something holds, and `retry` of a call whose errors pass.

Standard library and Python 3.9 only, because nodes run it too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from usernetes_deploy.errors import TimedOut, UsernetesError

T = TypeVar("T")
GROWTH = 1.15  # each pause is this much longer than the one before, up to `longest`


def until(
    look: Callable[[], T],
    seconds: float,
    what: str,
    *,
    pause: float = 0.1,
    longest: float = 0.0,
    alive: Callable[[], bool] = lambda: True,
    tried: str | None = None,
    remedy: str | None = None,
) -> T:
    """Call `look` until it returns something true, and return that.

    `what` is the state waited for as a sentence ("the API answers"). Pauses are `pause` seconds, growing up to
    `longest` where that is given. Raises `TimedOut` after `seconds`, and `UsernetesError` as soon as `alive` is false:
    then what is waited for cannot come any more. What `look` raises ends the wait.

    >>> answers = iter([0, 0, 3])
    >>> until(lambda: next(answers), 1, "three come", pause=0)
    3
    >>> until(lambda: False, 0.01, "pigs fly", pause=0)
    Traceback (most recent call last):
    usernetes_deploy.errors.TimedOut: not within 0.01 s: pigs fly
    """
    ends = time.monotonic() + seconds
    for rest in pauses(pause, longest):
        found = look()
        if found:
            return found
        if not alive():
            raise UsernetesError(f"it ended before this: {what}", tried=tried, remedy=remedy)
        if time.monotonic() > ends:
            raise TimedOut(f"not within {seconds:g} s: {what}", tried=tried, remedy=remedy)
        time.sleep(rest)
    raise AssertionError("pauses never end")


def retry(
    call: Callable[[], T],
    seconds: float,
    passes: Callable[[UsernetesError], bool] = lambda _: True,
    *,
    pause: float = 0.2,
    longest: float = 0.0,
    alive: Callable[[], bool] = lambda: True,
) -> T:
    """Return what `call` returns; it is called again while it raises a `UsernetesError` that `passes` says may pass.

    Raises the last error after `seconds`, at once for an error that does not pass, or when `alive` is false.

    >>> retry(lambda: "done", 10)
    'done'
    """
    ends = time.monotonic() + seconds
    for rest in pauses(pause, longest):
        try:
            return call()
        except UsernetesError as error:
            if not passes(error) or not alive() or time.monotonic() > ends:
                raise
        time.sleep(rest)
    raise AssertionError("pauses never end")


def pauses(first: float, longest: float = 0.0) -> Iterator[float]:
    """Seconds to wait between looks, without end.

    >>> steady, slower = pauses(0.1), pauses(0.1, longest=0.12)
    >>> [next(steady) for _ in range(3)], [round(next(slower), 3) for _ in range(4)]
    ([0.1, 0.1, 0.1], [0.1, 0.115, 0.12, 0.12])
    """
    rest = first
    while True:
        yield rest
        rest = min(rest * GROWTH, max(first, longest))
