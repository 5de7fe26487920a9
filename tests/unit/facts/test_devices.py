"""What the spec offers to pods is compared with what the host has."""

from __future__ import annotations

import pytest

from usernetes_deploy.facts import devices
from usernetes_deploy.facts.base import Need, NotUnderstood

ANSWER = """\
/dev/fuse=rw
wanted /dev/fuse=fine
wanted /dev/no*=nothing
wanted /dev/net=directory
wanted /etc/passwd=file
wanted /dev/mem=closed
cdi /etc/cdi/a.yaml=example.com/gpu
cdi /etc/cdi/b.json=example.com/nic
absent /etc/cdi/a.yaml=/dev/gpu0
absent /etc/cdi/a.yaml=/usr/bin/gpu-ctk
absent /etc/cdi/b.json=/dev/nic0
"""


def words(*wanted: str) -> list[tuple[str, str]]:
    return [(found.severity, found.what) for found in devices.judge(devices.parse(ANSWER), Need(devices=wanted))]


def test_each_path_that_is_no_device_file_of_the_user_is_named() -> None:
    assert words() == [
        ("problem", "device /dev/no* matches nothing on this host"),
        ("problem", "device /dev/net is a directory, no device file"),
        ("problem", "device /etc/passwd is a file, no device file"),
        ("problem", "device /dev/mem is not accessible to the user"),
    ]


def test_only_the_vendors_files_of_a_wanted_kind_are_looked_at() -> None:
    assert words("cdi:example.com/gpu=0")[4:] == [
        (
            "warning",
            "/etc/cdi/a.yaml names /dev/gpu0, /usr/bin/gpu-ctk: not on this host, "
            "so pods that ask for it will not start",
        )
    ]


def test_a_kind_that_no_file_describes_is_a_problem() -> None:
    assert words("cdi:example.com/fpga=0")[4:] == [
        ("problem", "no file in /etc/cdi or /var/run/cdi describes example.com/fpga")
    ]


def test_a_line_that_is_not_understood_is_quoted() -> None:
    with pytest.raises(NotUnderstood, match="wanted /dev/x=maybe"):
        devices.parse("wanted /dev/x=maybe\n")
