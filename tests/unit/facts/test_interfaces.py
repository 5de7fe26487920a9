"""Which interface is chosen, and which CIDRs collide."""

from __future__ import annotations

import pytest

from usernetes_deploy.facts.base import Need
from usernetes_deploy.facts.interfaces import Choice, Interface, Interfaces, Route, choose, collisions, judge

HOST = Interfaces(
    (
        Interface("lo", 65536, up=True, loopback=True),
        Interface("eno1", 1500, up=True, loopback=False, addresses=("198.51.100.7/24", "2001:db8::7/64")),
        Interface("hsi0", 9000, up=True, loopback=False, addresses=("10.20.0.7/16",)),
        Interface("eno2", 1500, up=False, loopback=False, addresses=("203.0.113.7/24",)),
    ),
    (Route("default", "hsi0", 200), Route("default", "eno1", 100), Route("172.16.0.0/12", "hsi0")),
)


@pytest.mark.parametrize(
    ("wanted", "name", "why"),
    [
        ("", "eno1", "carries the default route"),
        ("hsi0", "hsi0", "named in the spec"),
        ("10.0.0.0/8", "hsi0", "has an address in 10.0.0.0/8"),
        ("198.51.100.7", "eno1", "has an address in 198.51.100.7/32"),
        ("2001:db8::/32", "eno1", "has an address in 2001:db8::/32"),
    ],
)
def test_an_interface_is_chosen_with_its_reason(wanted: str, name: str, why: str) -> None:
    choice = choose(HOST, wanted)
    assert isinstance(choice, Choice)
    assert (choice.interface, choice.why) == (name, why)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("ib0", "interface ib0 is not here (there are: eno1 198.51.100.7, hsi0 10.20.0.7)"),
        ("eno2", "interface eno2 is down or has no IPv4 address (there are: eno1 198.51.100.7, hsi0 10.20.0.7)"),
        ("192.0.2.0/24", "no interface has an address in 192.0.2.0/24 (there are: eno1 198.51.100.7, hsi0 10.20.0.7)"),
        ("10.0.0.0/99", "'10.0.0.0/99' is neither an interface nor a CIDR"),
    ],
)
def test_a_choice_that_cannot_be_met_says_what_is_there(wanted: str, reason: str) -> None:
    assert choose(HOST, wanted) == reason


def test_the_only_interface_needs_no_default_route() -> None:
    choice = choose(Interfaces(HOST.interfaces[:2], ()), "")
    assert isinstance(choice, Choice)
    assert choice.why == "is the only one that is up"


def test_without_a_default_route_one_of_several_must_be_named() -> None:
    reason = "no interface carries a default route (there are: eno1 198.51.100.7, hsi0 10.20.0.7)"
    assert choose(Interfaces(HOST.interfaces, ()), "") == reason
    assert (
        judge(Interfaces(HOST.interfaces, ()), Need())[0].remedy == "name one in the spec: interface, a name or a CIDR"
    )


def test_routes_and_addresses_collide_with_cidrs_but_the_default_route_does_not() -> None:
    assert collisions(HOST, ("10.0.0.0/8", "172.20.0.0/16", "192.168.0.0/16")) == [
        ("10.0.0.0/8", "10.20.0.0/16", "hsi0"),
        ("172.20.0.0/16", "172.16.0.0/12", "hsi0"),
    ]
