"""Losses: noted once, taken out, replaced in their order, and said in words."""

from __future__ import annotations

from usernetes_deploy.cluster.losses import missing, noted, replaced, taken_out, words


def test_a_loss_is_noted_once_and_forgotten_when_the_node_is_back() -> None:
    first = noted([], {"a": "its broker is lost"}, now="T1")
    assert noted(first, {"a": "its broker is lost"}, now="T2") == first
    assert noted(first, {}) == []


def test_a_node_may_be_lost_again_after_it_was_replaced() -> None:
    once = replaced(taken_out(noted([], {"a": "lost"}), {"a": "lost"}), ["a"])
    again = noted(once, {"a": "lost again"})
    assert [loss["action"] for loss in again] == ["replaced", "waiting"]


def test_what_was_removed_stays_missing_until_another_comes() -> None:
    gone = taken_out(noted([], {"a": "lost", "b": "lost"}), {"a": "silent", "b": "silent"})
    assert missing(gone) == 2
    half = replaced(gone, ["c"])
    assert missing(half) == 1
    assert [(loss["node"], loss["by"]) for loss in half] == [("a", ["c"]), ("b", [])]
    assert missing(replaced(half, ["d", "e"])) == 0


def test_what_a_person_removes_by_force_is_not_missing() -> None:
    gone = taken_out([], {"a": "no route to host"})
    assert missing(gone) == 0
    assert "a at " in words(gone[0])
    assert "no route to host; removed by force at " in words(gone[0])


def test_a_loss_that_waits_for_its_second_witness_is_not_removed_with_another() -> None:
    both = taken_out(noted([], {"a": "lost", "b": "lost"}), {"a": "lost"})
    assert [loss["action"] for loss in both] == ["removed", "waiting"]
