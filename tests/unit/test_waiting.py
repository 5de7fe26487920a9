"""Waiting: what comes is returned, what does not come is named, and nothing is asked after it cannot come any more."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.waiting import pauses, retry, until


def test_what_comes_is_returned_as_soon_as_it_is_seen() -> None:
    answers = iter(["", "", "here"])
    assert until(lambda: next(answers), 60, "it is here", pause=0.001) == "here"


def test_what_is_there_already_costs_no_pause() -> None:
    began = time.monotonic()
    until(lambda: True, 60, "it is here", pause=30)
    assert time.monotonic() - began < 5


def test_what_does_not_come_is_named_with_what_was_tried_and_its_remedy() -> None:
    with pytest.raises(TimedOut, match=r"ask n1: not within 0\.01 s: it answers\n  fix: usernetes logs") as told:
        until(lambda: False, 0.01, "it answers", pause=0.001, tried="ask n1", remedy="usernetes logs")
    assert told.value.exit_code == 4


def test_it_is_looked_at_once_more_when_the_time_is_up() -> None:
    """A look that takes longer than the wait must not be its last word: a slow answer that comes is an answer."""
    answers = iter([False, True])
    assert until(lambda: next(answers), 0.05, "it is here", pause=0.1)


def test_nobody_waits_for_what_cannot_come_any_more() -> None:
    began = time.monotonic()
    with pytest.raises(UsernetesError, match="it ended before this: containerd listens"):
        until(lambda: False, 60, "containerd listens", alive=lambda: False)
    assert time.monotonic() - began < 5


def test_an_error_of_the_look_ends_the_wait() -> None:
    def refused() -> bool:
        raise UsageError("no such job")

    with pytest.raises(UsageError, match="no such job"):
        until(refused, 60, "the job runs")


def failing(times: int, error: UsernetesError) -> tuple[itertools.count[int], Callable[[], str]]:
    """A count of the calls, and a call that fails that many times."""
    calls = itertools.count(1)

    def call() -> str:
        if next(calls) <= times:
            raise error
        return "done"

    return calls, call


def test_a_call_is_repeated_while_its_errors_pass() -> None:
    calls, call = failing(3, UsernetesError("busy"))
    assert retry(call, 60, pause=0.001) == "done"
    assert next(calls) == 5


def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    calls, call = failing(3, UsernetesError("forbidden"))
    with pytest.raises(UsernetesError, match="forbidden"):
        retry(call, 60, lambda error: "busy" in str(error))
    assert next(calls) == 2


def test_the_last_error_is_raised_when_the_time_is_up_or_nobody_is_left_to_answer() -> None:
    _, call = failing(1000, UsernetesError("busy"))
    with pytest.raises(UsernetesError, match="busy"):
        retry(call, 0.02, pause=0.001)
    calls, call = failing(1000, UsernetesError("busy"))
    with pytest.raises(UsernetesError, match="busy"):
        retry(call, 60, alive=lambda: False)
    assert next(calls) == 2


def test_other_errors_are_never_repeated() -> None:
    def broken() -> str:
        raise KeyError("items")

    with pytest.raises(KeyError):
        retry(broken, 60)


def test_pauses_grow_up_to_the_longest_and_stay_where_none_is_given() -> None:
    assert set(itertools.islice(pauses(0.5), 5)) == {0.5}
    grown = list(itertools.islice(pauses(0.05, 1.0), 40))
    assert grown == sorted(grown)
    assert grown[0] == 0.05
    assert grown[-1] == 1.0
