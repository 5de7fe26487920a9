"""No XDG_RUNTIME_DIR and no D-Bus address, AppArmor on: the user's systemd is found all the same."""

from __future__ import annotations

from tests.vm.clusters import cluster
from tests.vm.machine import Machine


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    assert machine.must("root", "cat /sys/module/apparmor/parameters/enabled").strip() == "Y"
    begin = "env -u XDG_RUNTIME_DIR -u DBUS_SESSION_BUS_ADDRESS -u XDG_SESSION_ID"
    with cluster(machine, "alice", "bare", begin=begin) as made:
        assert "limits  enforced" in made.usernetes("status")
