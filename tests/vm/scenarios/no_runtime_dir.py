"""No XDG_RUNTIME_DIR and no D-Bus address, AppArmor on: the user's systemd is found all the same."""

from __future__ import annotations

from tests.vm.clusters import Cluster, cluster
from tests.vm.machine import Machine

BEGIN = "env -u XDG_RUNTIME_DIR -u DBUS_SESSION_BUS_ADDRESS -u XDG_SESSION_ID"


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    with cluster(machine, "alice", "bare", begin=BEGIN) as made:
        see(machine, made)


def see(machine: Machine, made: Cluster) -> None:
    """The same in a cluster that is up."""
    assert machine.must("root", "cat /sys/module/apparmor/parameters/enabled").strip() == "Y"
    assert "limits  enforced" in made.usernetes("status")
