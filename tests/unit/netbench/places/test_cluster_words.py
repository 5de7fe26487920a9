"""Commands of a plan keep their own braces; only {network} is filled in (docs/netbench.md)."""

from __future__ import annotations

from netbench.places.cluster import for_network


def test_braces_of_the_shell_stay() -> None:
    words = ["sh", "-c", "echo ${HOME} {print} {network}"]
    assert [for_network(word, "mesh") for word in words] == ["sh", "-c", "echo ${HOME} {print} mesh"]
