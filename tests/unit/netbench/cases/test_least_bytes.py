"""How much must cross between nodes: enough to tell a network from shared memory, never more than is sent."""

from __future__ import annotations

import pytest

from netbench.cases import CASES
from netbench.cases.base import Setup
from tests.unit.netbench.cases.test_osu import NOWHERE


def least(name: str, nodes: int = 2, **parameters: str) -> int:
    return CASES[name].least_bytes(Setup(NOWHERE, nodes, 2, {**CASES[name].defaults, **parameters}))


def test_a_single_node_sends_nothing_between_nodes() -> None:
    assert least("osu_latency", nodes=1) == least("lammps_hns", nodes=1) == 0


def test_a_ping_pong_sends_every_message_with_its_header() -> None:
    assert least("osu_latency", sizes="8:16", iterations="1000") == 1000 * (48 + 56)


def test_large_messages_are_counted_with_a_tenth_of_the_rounds() -> None:
    assert least("osu_bw", sizes="16384:16384", iterations="100") == 64 * 10 * 16384


def test_a_message_rate_of_few_rounds_is_not_expected_to_send_more() -> None:
    assert least("osu_mbw_mr", sizes="1024:1024", iterations="20") == 64 * 20 * 1024
    assert least("osu_mbw_mr", sizes="1024:1024", iterations="1000") == 64 * 100 * 1024


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.family in ("osu", "lammps")])
def test_the_bound_of_the_defaults_is_more_than_a_launcher_says(name: str) -> None:
    assert least(name) > 20_000


def test_nothing_is_sent_by_noise() -> None:
    assert least("noise") == least("pod_start") == 0
