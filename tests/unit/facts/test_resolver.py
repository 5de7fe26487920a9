"""Which resolvers a node gets, and what is said when none of them answers."""

from __future__ import annotations

import pytest

from usernetes_deploy.facts import Need, resolver

ONLY_LOOPBACK = "file=/etc/resolv.conf\nnameserver=127.0.0.53\n"
TWO = "file=/etc/resolv.conf\nnameserver=192.0.2.1\nnameserver=192.0.2.2\n"


def test_a_loopback_resolver_that_answers_is_asked_through_the_nat_and_is_no_warning() -> None:
    found = resolver.parse(ONLY_LOOPBACK)
    assert resolver.judge(found, Need()) == []
    assert found.best_first() == ["127.0.0.53"]


@pytest.mark.parametrize(
    ("text", "need", "said"),
    [
        (ONLY_LOOPBACK + "silent=127.0.0.53\n", Need(), "no resolver in /etc/resolv.conf answers (127.0.0.53)"),
        (TWO + "silent=192.0.2.1\nsilent=192.0.2.2\n", Need(), "answers (192.0.2.1, 192.0.2.2)"),
        (TWO + "silent=192.0.2.9\n", Need(nameservers=("192.0.2.9",)), "of the spec answers (192.0.2.9)"),
        ("", Need(), "no resolver in /etc/resolv.conf: pods"),
    ],
)
def test_no_resolver_that_answers_is_a_warning_with_its_remedy(text: str, need: Need, said: str) -> None:
    (problem,) = resolver.judge(resolver.parse(text), need)
    assert said in problem.what
    assert problem.severity == "warning"
    assert "network.nameservers" in problem.remedy


def test_those_that_answer_come_before_those_that_do_not() -> None:
    found = resolver.parse(TWO + "silent=192.0.2.1\n")
    assert resolver.judge(found, Need()) == []
    assert found.best_first() == ["192.0.2.2", "192.0.2.1"]
