"""A user whom nobody prepared: systemd's own delegation is enough for limits."""

from __future__ import annotations

from tests.vm.clusters import cluster
from tests.vm.machine import Machine


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    with cluster(machine, "bob", "plain") as made:
        assert "limits  enforced" in made.usernetes("status")
