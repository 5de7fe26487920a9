"""Errors read as small reports, and secrets do not show themselves."""

from __future__ import annotations

import copy
import traceback

import pytest

from usernetes_deploy import errors
from usernetes_deploy.errors import CommandFailed, HostNotFit, NodeFailures, Secret, SpecError, TimedOut, UsernetesError


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r}".format, lambda secret: f"{[secret]}"])
def test_a_secret_shows_stars_whatever_is_done_to_it(show: object) -> None:
    assert callable(show)
    assert "hunter2" not in show(Secret("hunter2"))
    assert "***" in show(Secret("hunter2"))


def test_a_secret_in_a_traceback_shows_stars() -> None:
    token = Secret("".join(("hunter", "2")))
    try:
        raise UsernetesError(f"cannot join with {token}")
    except UsernetesError as error:
        assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_secret_is_equal_to_its_like_and_can_be_copied() -> None:
    assert Secret("a") == copy.deepcopy(Secret("a")) != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a") != "a"


def test_each_kind_has_its_exit_code() -> None:
    codes = {
        UsernetesError("x"): 1,
        errors.UsageError("x"): 2,
        SpecError([("a", "b")]): 2,
        HostNotFit([("a", "b")]): 3,
        TimedOut("x"): 4,
        errors.BundleError("x"): 1,
        CommandFailed(["x"], 1): 1,
    }
    assert [error.exit_code for error in codes] == list(codes.values())


def test_a_failed_command_can_be_pasted_and_ends_with_its_last_words() -> None:
    output = "\n".join(f"line {number}" for number in range(9))
    error = CommandFailed(["echo", "two words"], 3, output, node="node03", remedy="say it again")
    assert str(error).splitlines() == [
        "node03: echo 'two words': exit code 3",
        *(f"  | line {number}" for number in range(4, 9)),
        "  fix: say it again",
    ]
    assert CommandFailed(["x"], -9).reason == "signal 9"


def test_failures_of_nodes_have_a_line_each_and_the_worst_exit_code() -> None:
    error = NodeFailures(
        {"b": HostNotFit([("no tun", "make one"), ("no ids", "")], node="b"), "a": OSError("gone")}, "check"
    )
    assert error.exit_code == 3
    assert str(error).splitlines() == [
        "check: failed on 2 nodes:",
        "  a: gone",
        "  b: no tun",
        "    fix: make one",
        "  b: no ids",
    ]


def test_an_error_without_words_is_named_by_its_type() -> None:
    assert "a: KeyboardInterrupt" in str(NodeFailures({"a": KeyboardInterrupt()}))
