"""The virtual hosts are what tests believe: apart from each other and from this machine, and gone when removed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.hosts.conftest import VirtualHosts

pytestmark = pytest.mark.cluster


def test_up_twice_changes_nothing(virtual_hosts: VirtualHosts) -> None:
    assert virtual_hosts.call("up").stdout == ""


def test_check_says_what_would_be_done_and_does_nothing(virtual_hosts: VirtualHosts) -> None:
    hosts = VirtualHosts("tcheck", "10.78.9.0/24", virtual_hosts.user, 1)
    said = hosts.call("check").stdout
    assert "host tcheck0 10.78.9.10" in said
    assert not hosts.state.exists()


def test_a_host_has_its_own_name_address_disks_etc_and_home(virtual_hosts: VirtualHosts) -> None:
    first, second = virtual_hosts.names
    assert virtual_hosts.on(first, "hostname").strip() == first
    assert virtual_hosts.address(first) in virtual_hosts.on(first, "ip -o -4 addr show eth0")
    assert virtual_hosts.on(first, "ls /sys/class/net").split() == ["eth0", "lo"]
    for folder in ("/tmp", "/var/tmp", "/etc", "/run", "/dev/shm", "/var/lib/usernetes/prepare"):
        virtual_hosts.on(first, f"echo {first} > {folder}/mark")
        assert virtual_hosts.on(second, f"cat {folder}/mark", check=False) == ""
        assert not Path(folder, "mark").exists()
    virtual_hosts.on(first, "echo mine > ~/mark", user=virtual_hosts.user)
    assert virtual_hosts.on(second, "cat ~/mark", user=virtual_hosts.user, check=False) == ""


def test_a_user_on_a_host_is_as_if_logged_in(virtual_hosts: VirtualHosts) -> None:
    said = virtual_hosts.on(virtual_hosts.names[0], 'id -un; pwd; echo "$HOME $USER"; id -G', user=virtual_hosts.user)
    home = f"/home/{virtual_hosts.user}"
    assert said.splitlines()[:3] == [virtual_hosts.user, home, f"{home} {virtual_hosts.user}"]
    assert "0" not in said.splitlines()[3].split()


def test_ssh_reaches_every_host_as_user_and_as_root(virtual_hosts: VirtualHosts) -> None:
    for name in virtual_hosts.names:
        for login, expected in ((name, virtual_hosts.user), (f"root@{name}", "root")):
            argv = ["ssh", "-F", str(virtual_hosts.state / "ssh_config"), login, "id -un; hostname"]
            done = subprocess.run(argv, text=True, capture_output=True, check=True, timeout=30)
            assert done.stdout.split() == [expected, name]


def test_a_cut_cable_separates_a_host_until_it_is_mended(virtual_hosts: VirtualHosts) -> None:
    first, second = virtual_hosts.names
    knock = f"timeout 2 bash -c 'echo > /dev/tcp/{virtual_hosts.address(second)}/22' && echo open"
    assert virtual_hosts.on(first, knock) == "open\n"
    virtual_hosts.call("cut", second)
    assert virtual_hosts.on(first, knock, check=False) == ""
    virtual_hosts.call("mend", second)
    time.sleep(0.2)
    assert virtual_hosts.on(first, knock) == "open\n"


def test_kill_ends_every_process_of_one_host_only(virtual_hosts: VirtualHosts) -> None:
    first, second = virtual_hosts.names
    argv = ["unshare", "-Urmn", "sleep", "600"]
    here = subprocess.Popen(virtual_hosts.argv_on(first, *argv, user=virtual_hosts.user))
    there = subprocess.Popen(virtual_hosts.argv_on(second, *argv, user=virtual_hosts.user))
    time.sleep(0.5)
    virtual_hosts.call("kill", first)
    assert here.wait(timeout=5) == -9
    assert there.poll() is None
    there.kill()
    there.wait()
    virtual_hosts.call("up")


def test_nothing_is_left_of_removed_hosts(virtual_hosts: VirtualHosts) -> None:
    hosts = VirtualHosts("tgone", "10.78.8.0/24", virtual_hosts.user, 1)
    hosts.call("up")
    sleeper = subprocess.Popen(hosts.argv_on("tgone0", "sleep", "600"))
    time.sleep(0.2)
    hosts.call("down")
    assert sleeper.wait(timeout=5) == -9
    assert not hosts.state.exists()
    assert not Path("/sys/class/net/br-tgone").exists()
    assert not Path("/run/netns/tgone0").exists()
    assert "tgone" not in Path("/proc/self/mounts").read_text()
    assert hosts.call("down").stdout == ""


def test_a_bridge_that_is_not_ours_is_refused(virtual_hosts: VirtualHosts) -> None:
    subprocess.run(["ip", "link", "add", "br-tother", "type", "bridge"], check=True)
    try:
        done = VirtualHosts("tother", "10.78.7.0/24", virtual_hosts.user, 1).call("up", check=False)
        assert done.returncode == 1
        assert "the bridge br-tother exists without the address 10.78.7.1/24" in done.stderr
    finally:
        subprocess.run(["ip", "link", "del", "br-tother"], check=True)
        VirtualHosts("tother", "10.78.7.0/24", virtual_hosts.user, 1).call("down")
