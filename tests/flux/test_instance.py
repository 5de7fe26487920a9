"""The test instance itself is what it says: three machines that share nothing but the network."""

from __future__ import annotations

from tests.flux.instance import Instance


def test_every_broker_is_on_a_machine_of_its_own(instance: Instance) -> None:
    assert sorted(instance.ask("flux", "exec", "hostname").split()) == ["fl0", "fl1", "fl2"]


def test_the_machines_share_no_home_and_no_tmp(instance: Instance) -> None:
    for place in ("$HOME", "/tmp", "/var/tmp"):
        instance.ask("flux", "exec", "-r", "0", "sh", "-c", f"touch {place}/here")
        assert instance.run(["flux", "exec", "-r", "1", "sh", "-c", f"test -e {place}/here"]).returncode == 1
