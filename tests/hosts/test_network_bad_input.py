"""What the hosts' networks and devices cannot give is refused before anything starts: all of it at once, by name."""

from __future__ import annotations

import ipaddress
import json
import subprocess

import pytest

from tests.hosts.meshed import Meshed

pytestmark = pytest.mark.cluster


def refused(meshed: Meshed, *words: str, **spec: object) -> str:
    """What ``up`` says to a spec that cannot be; exit code 3, and nothing is changed on any host."""
    look = ["sh", "-c", "ls /var/tmp/usernetes-$(id -u) ~/.local/state/usernetes; ps -u $(id -u) -o pid= | wc -l"]
    text = json.dumps({"launcher": "ssh", "nodes": 2, "hosts": meshed.hosts.names[:2], **spec})
    subprocess.run(meshed.argv(0, "sh", "-c", "cat > ~/wrong.yaml"), input=text, text=True, check=True)
    before = [meshed.on(number, *look).stdout.splitlines()[:-1] for number in (0, 1)]
    done = meshed.usernetes("up", "--cluster", "wrong", "--file", "wrong.yaml", "--bundle", str(meshed.bundle), *words)
    assert [meshed.on(number, *look).stdout.splitlines()[:-1] for number in (0, 1)] == before
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    return done.stderr


def test_an_interface_networks_and_devices_that_cannot_be_are_named_for_every_host(meshed: Meshed) -> None:
    wide = str(ipaddress.ip_network(meshed.hosts.subnet).supernet(new_prefix=16))
    said = refused(
        meshed,
        "--interface",
        "nosuch0",
        network={"podCIDR": wide},
        devices=[
            {"name": "none", "paths": ["/dev/no-such-device*"]},
            {"name": "folder", "paths": ["/dev/net"]},
            {"name": "plain", "paths": ["/etc/passwd"]},
            {"name": "vendor", "paths": ["cdi:example.org/gpu=all"]},
        ],
    )
    for number, host in enumerate(meshed.hosts.names[:2]):
        for words in (
            f"interface nosuch0 is not here (there are: eth0 {meshed.address(number)})",
            f"the cluster's {wide} overlaps {meshed.hosts.subnet}, which this host reaches over eth0",
            "device /dev/no-such-device* matches nothing on this host",
            "device /dev/net is a directory, no device file",
            "device /etc/passwd is a file, no device file",
            "no file in /etc/cdi or /var/run/cdi describes example.org/gpu",
        ):
            assert f"{host}: {words}" in said, said
    for remedy in ("name one in the spec", "choose other CIDRs", "correct devices in the spec", "the vendor's tool"):
        assert f"fix: {remedy}" in said or remedy in said


@pytest.mark.parametrize(("backend", "least"), [("mesh", 1340), ("flannel", 1330)])
def test_an_interface_with_too_small_an_mtu_is_named(meshed: Meshed, backend: str, least: int) -> None:
    host = meshed.hosts.names[1]
    meshed.hosts.on(host, "ip link set eth0 mtu 1300")
    try:
        said = refused(meshed, network={"backend": backend})
    finally:
        meshed.hosts.on(host, "ip link set eth0 mtu 1500")
    assert f"{host}: interface eth0 has MTU 1300, the {backend} needs {least} or more" in said
    assert "fix: choose another interface with --interface, or raise its MTU" in said
    assert f"{meshed.hosts.names[0]}: " not in said
