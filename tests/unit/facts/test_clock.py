"""Clocks are compared by what is certain, not by how long the answers took."""

from __future__ import annotations

from usernetes_deploy.facts.base import Need
from usernetes_deploy.facts.clock import Clock, judge, judge_together


def test_a_slow_answer_is_no_skew() -> None:
    assert judge(Clock(1003, asked=1000.0, answered=1030.0), Need()) == []
    assert judge_together({"a": Clock(1000, 1000.0, 1000.1), "b": Clock(1025, 1000.0, 1030.0)}) == {}


def test_a_clock_that_is_ahead_is_named_with_the_seconds() -> None:
    [problem] = judge(Clock(1100, asked=1000.0, answered=1001.0), Need())
    assert problem.what == "the clock is 99 s ahead of this machine's"


def test_a_clock_that_is_behind_is_named_with_the_seconds() -> None:
    [problem] = judge(Clock(900, asked=1000.0, answered=1001.0), Need())
    assert problem.what == "the clock is 99 s behind this machine's"


def test_the_one_host_that_differs_is_named_not_the_others() -> None:
    clocks = {f"node{i}": Clock(1000, 1000.0, 1000.2) for i in range(3)} | {"node3": Clock(940, 1000.0, 1000.2)}
    assert list(judge_together(clocks)) == ["node3"]


def test_five_seconds_are_allowed() -> None:
    assert judge_together({"a": Clock(1000, 1000.0, 1000.1), "b": Clock(1005, 1000.0, 1000.1)}) == {}


def test_one_host_has_nothing_to_be_compared_with() -> None:
    assert judge_together({"a": Clock(0, 1000.0, 1000.1)}) == {}


def test_hosts_that_were_asked_at_different_times_agree_when_their_clocks_do() -> None:
    first = {f"node{index}": Clock(1000, 1000.0, 1000.2) for index in range(64)}
    later = {f"node{index}": Clock(1007, 1007.0, 1007.2) for index in range(64, 84)}
    assert judge_together({**first, **later}) == {}


def test_a_host_far_from_the_drivers_clock_is_refused_for_its_certificate_would_not_be_valid() -> None:
    [problem] = judge(Clock(1000, asked=5000.0, answered=5001.0), Need())
    assert (problem.severity, problem.what) == ("problem", "the clock is 3999 s behind this machine's")
    [problem] = judge(Clock(1000, asked=1010.0, answered=1010.5), Need())
    assert problem.severity == "warning"
