"""The playbooks against virtual hosts: they mend what the facts found, once, say before what they will do, and undo it.

What this machine has not (cgroup v2 with systemd, AppArmor, a firewall, Flux) is put up on a host as files and as
programs that write down their arguments; the roles that ask for them run for real.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.conftest import ROOT, VirtualHosts
from usernetes_deploy import facts

pytestmark = pytest.mark.cluster

# Kernel parameters that are not a network namespace's own are this machine's, and stay as they are.
OWN = {"usernetes_sysctl_least": {}, "usernetes_port_start": 900}


@dataclass(frozen=True)
class Run:
    """What a playbook did."""

    output: str
    changed: set[tuple[str, str]]


ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))


def play(hosts: VirtualHosts, playbook: str, *options: str, **variables: object) -> Run:
    """Run a playbook over SSH; `changed` has (host, task) of all that it changed, or would change with --check."""
    return run(ANSIBLE, "-i", str(hosts.inventory), playbook, options, variables)


def play_there(hosts: VirtualHosts, name: str, playbook: str, *options: str, **variables: object) -> Run:
    """Run a playbook on one host itself, without SSH: half the time."""
    there = hosts.state / "playbooks"  # a checkout under /tmp is not seen on a host, whose /tmp is its own
    shutil.copytree(ROOT / "playbooks", there, dirs_exist_ok=True)
    argv = hosts.argv_on(name, "env", "HOME=/tmp", "ANSIBLE_PIPELINING=1", ANSIBLE, "-i", "localhost,", "-c", "local")
    return run(*argv, playbook, options, variables, folder=there)


def run(*words: Any, folder: Path = ROOT / "playbooks") -> Run:
    """Run Ansible: argv, the playbook, options, variables."""
    *argv, playbook, options, variables = words
    argv += [str(folder / playbook), "-e", json.dumps(OWN | variables), *options]
    environment = os.environ | {"ANSIBLE_PIPELINING": "True", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        argv, text=True, capture_output=True, check=False, timeout=300, env=environment, stdin=subprocess.DEVNULL
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "PRIVATE KEY" not in output
    changed = set()
    task = ""
    for line in output.splitlines():
        if match := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*?)\] \*", line):
            task = match[1]
        elif match := re.match(r"changed: \[(\S+)\]", line):
            changed.add((match[1], task))
    return Run(output, changed)


def problems(hosts: VirtualHosts, name: str) -> dict[str, str]:
    """What a user finds wrong on a host, by fact: the remedy."""
    need = facts.Need(cidrs=())
    argv = hosts.argv_on(name, "sh", "-s", user=hosts.user)
    answer = subprocess.run(argv, input=facts.script(need), text=True, capture_output=True, check=True, timeout=60)
    found = facts.judge(facts.read(answer.stdout), need, node=name)
    return {problem.fact: problem.remedy for problem in found if problem.severity == "problem"}


OURS = (
    "/etc/sysctl.d/60-usernetes.conf",
    "/etc/udev/rules.d/60-usernetes-tun.rules",
    "/etc/modules-load.d/usernetes.conf",
    "/etc/systemd/system/user@.service.d/60-usernetes.conf",
    "/etc/apparmor.d/usernetes",
    "/etc/firewalld/services/usernetes.xml",
    "/var/lib/usernetes/prepare/*",
)
SETTINGS = (
    "stat -c '%a %u %g' /dev/net/tun;"
    "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
)


def snapshot(hosts: VirtualHosts, name: str) -> str:
    """Everything that the playbooks may change on a host."""
    return hosts.on(name, f"cat {' '.join(OURS)} /etc/subuid /etc/subgid 2>&1; ls -R /etc/flux 2>&1; {SETTINGS}")


@pytest.fixture
def spoiled(virtual_hosts: VirtualHosts) -> Iterator[VirtualHosts]:
    """Hosts that were never prepared; the first has no subordinate ids and keeps users from tun, as bare hosts do."""
    first = virtual_hosts.names[0]
    for name in virtual_hosts.names:  # this machine's own /etc shines through: it may be prepared already
        virtual_hosts.on(name, f"rm -f {' '.join(OURS)}; sed -i '' /etc/subuid /etc/subgid; mkdir -p /etc/udev/rules.d")
    virtual_hosts.on(
        first,
        f"sed -i /^{virtual_hosts.user}:/d /etc/subuid /etc/subgid; chmod 600 /dev/net/tun;"
        "echo '1 0' > /proc/sys/net/ipv4/ping_group_range",
    )
    yield virtual_hosts
    virtual_hosts.on(first, "chmod 666 /dev/net/tun")


def test_prepare_mends_what_the_facts_found_and_a_second_run_changes_nothing(spoiled: VirtualHosts) -> None:
    first, second = spoiled.names
    assert set(problems(spoiled, first)) == {"subid", "tun"}
    before = {name: snapshot(spoiled, name) for name in spoiled.names}

    announced = play(spoiled, "prepare.yml", "--check", "--diff", usernetes_user=spoiled.user)
    assert {name: snapshot(spoiled, name) for name in spoiled.names} == before
    assert f"+{spoiled.user}:" in announced.output
    assert "+net.ipv4.ip_unprivileged_port_start = 900" in announced.output
    assert '+KERNEL=="tun", MODE="0666"' in announced.output

    done = play(spoiled, "prepare.yml", "--diff", usernetes_user=spoiled.user)
    assert done.changed == announced.changed
    assert (first, "tun : Let users open it now") in done.changed
    assert (second, "tun : Let users open it now") not in done.changed
    assert "not applicable: cgroups are not v2" in done.output
    assert problems(spoiled, first) == {}

    again = play(spoiled, "prepare.yml", usernetes_user=spoiled.user)
    assert again.changed == set()

    would_undo = play(spoiled, "undo.yml", "--check")
    undone = play(spoiled, "undo.yml")
    assert undone.changed == would_undo.changed != set(), undone.output
    assert {name: snapshot(spoiled, name) for name in spoiled.names} == before
    assert play(spoiled, "undo.yml").changed == set()


def test_each_remedy_mends_its_fact_on_the_host_that_it_names_and_nothing_else(spoiled: VirtualHosts) -> None:
    first = spoiled.names[0]
    for fact, remedy in problems(spoiled, first).items():
        words = remedy.split()
        assert words[:3] == ["usernetes", "prepare", "--tags"]
        assert words[4:] == ["--user", spoiled.user, "--hosts", first]
        run = play(spoiled, "prepare.yml", "--tags", words[3], "--limit", first, usernetes_user=spoiled.user)
        assert {task.partition(" : ")[0] for _, task in run.changed} == {words[3]}
        assert {host for host, _ in run.changed} == {first}
        assert fact not in problems(spoiled, first)
    play(spoiled, "undo.yml")


def test_a_user_is_made_with_ids_and_removed_only_when_named(virtual_hosts: VirtualHosts) -> None:
    first = virtual_hosts.names[0]
    options = ("--tags", "user,subid")
    virtual_hosts.on(first, "mkdir -p /tmp/homes; mount --bind /tmp/homes /home")  # the rest of /home is this machine's
    play_there(virtual_hosts, first, "prepare.yml", *options, usernetes_user="tnew")
    assert virtual_hosts.on(first, "grep -c ^tnew: /etc/subuid /etc/subgid /etc/passwd").split() == [
        "/etc/subuid:1",
        "/etc/subgid:1",
        "/etc/passwd:1",
    ]
    ranges = [line.split(":") for line in virtual_hosts.on(first, "cat /etc/subuid").split()]
    spans = sorted((int(start), int(start) + int(count)) for _, start, count in ranges)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    play_there(virtual_hosts, first, "undo.yml", *options)
    assert virtual_hosts.on(first, "id -un tnew").strip() == "tnew"
    play_there(virtual_hosts, first, "undo.yml", *options, usernetes_remove_user="tnew")
    assert virtual_hosts.on(first, "id tnew; ls /home", check=False) == ""
    virtual_hosts.on(first, "umount /home")


FAKES = {
    "systemctl": "",
    "loginctl": 'mkdir -p /run/linger; [ "$1" = enable-linger ] && touch /var/lib/systemd/linger/$2'
    ' || { [ "$1" = disable-linger ] && rm /var/lib/systemd/linger/$2; }',
    "apparmor_parser": "",
    "firewall-cmd": """
case "$*" in
  --state|--reload) exit 0 ;;
  *--query-service=usernetes) [ -e /etc/fake-service ] ;;
  *--add-service=usernetes) touch /etc/fake-service ;;
  *--remove-service=usernetes) rm /etc/fake-service ;;
  *--query-rich-rule*) [ -s /etc/fake-rules ] ;;
  *--add-rich-rule=*) echo "${2#--add-rich-rule=}" >> /etc/fake-rules ;;
  *--list-rich-rules) cat /etc/fake-rules ;;
  *--remove-rich-rule=*) rm /etc/fake-rules ;;
esac""",
}


@pytest.fixture
def furnished(virtual_hosts: VirtualHosts) -> Iterator[VirtualHosts]:
    """The second host with cgroup v2, systemd, a restricting AppArmor, firewalld and Flux, as far as files show it."""
    second = virtual_hosts.names[1]
    virtual_hosts.on(second, f"rm -f {' '.join(OURS)}")
    virtual_hosts.on(
        second,
        "mkdir -p /tmp/fakes /tmp/cgroup /tmp/kernel /tmp/linger /run/systemd/system /etc/flux/system/conf.d /etc/slurm"
        " /etc/firewalld/services /etc/apparmor.d /var/lib/systemd/linger;"
        "touch /tmp/cgroup/cgroup.controllers; echo 1 > /tmp/kernel/apparmor_restrict_unprivileged_userns;"
        "mount --bind /tmp/fakes /usr/local/sbin; mount --bind /tmp/cgroup /sys/fs/cgroup;"
        "mount --bind /tmp/kernel /proc/sys/kernel; mount --bind /tmp/linger /var/lib/systemd/linger;"
        "echo epilog=/site/epilog > /etc/slurm/slurm.conf;"
        "getent passwd flux >/dev/null || useradd --system flux",
    )
    for name, body in FAKES.items():
        script = f'#!/bin/sh\necho "{name} $*" >> /tmp/calls\n{body}\n'
        virtual_hosts.on(second, f"cat > /tmp/fakes/{name} <<'END'\n{script}END\nchmod 755 /tmp/fakes/{name}")
    yield virtual_hosts
    virtual_hosts.on(
        second,
        "umount /usr/local/sbin /sys/fs/cgroup /proc/sys/kernel /var/lib/systemd/linger; rm -r /etc/flux /etc/slurm",
    )


def test_cgroups_apparmor_firewall_flux_and_slurm_are_set_up_where_they_are(furnished: VirtualHosts) -> None:
    second = furnished.names[1]
    options = ("--tags", "cgroup_delegation,apparmor_userns,firewall,flux,slurm")
    variables = {"usernetes_user": furnished.user, "usernetes_flux_sdexec": True}
    before = snapshot(furnished, second)

    play_there(furnished, second, "prepare.yml", "--check", *options, **variables)
    assert snapshot(furnished, second) == before
    done = play_there(furnished, second, "prepare.yml", *options, **variables)
    assert "not applicable" not in done.output
    unit = furnished.on(second, "cat /etc/systemd/system/user@.service.d/60-usernetes.conf")
    assert unit.splitlines()[1:] == ["[Service]", "Delegate=cpu cpuset io memory pids"]
    profile = furnished.on(second, "cat /etc/apparmor.d/usernetes")
    assert (
        "profile usernetes /{var/tmp,tmp,run/user/*}/usernetes-*/bundle/*/bin/rootlesskit flags=(unconfined) {"
        in profile
    )
    service = furnished.on(second, "cat /etc/firewalld/services/usernetes.xml")
    assert '<port port="20000-29999" protocol="udp"/>' in service
    assert furnished.on(second, "sh -n /etc/flux/system/epilog.d/90-usernetes; echo $?") == "0\n"
    assert 'service = "sdexec"' in furnished.on(second, "cat /etc/flux/system/conf.d/usernetes.toml")
    assert furnished.on(second, "sh -n /etc/slurm/epilog.d/90-usernetes; echo $?") == "0\n"
    assert "Add Epilog=/etc/slurm/epilog.d/* (now: /site/epilog)" in done.output
    assert "Add ProctrackType=proctrack/cgroup" in done.output
    calls = furnished.on(second, "cat /tmp/calls")
    assert "apparmor_parser --replace /etc/apparmor.d/usernetes" in calls
    assert f"loginctl enable-linger {furnished.user}" in calls
    assert "systemctl daemon-reload" in calls
    assert "firewall-cmd --permanent --add-service=usernetes" in calls

    assert play_there(furnished, second, "prepare.yml", *options, **variables).changed == set()
    play_there(furnished, second, "undo.yml", *options)
    left = furnished.on(second, "grep -rl usernetes-deploy /etc 2>/dev/null; ls /var/lib/systemd/linger", check=False)
    assert left == ""
    assert "apparmor_parser --remove" in furnished.on(second, "cat /tmp/calls")


def test_the_firewall_lets_in_one_network_only_when_it_is_named(furnished: VirtualHosts) -> None:
    second = furnished.names[1]
    options = ("--tags", "firewall")
    variables = {"usernetes_firewall_source": "198.51.100.0/24", "usernetes_firewall_ports": ["51820/udp"]}
    play_there(furnished, second, "prepare.yml", *options, **variables)
    rule = 'rule family="ipv4" source address="198.51.100.0/24" service name="usernetes" accept'
    assert furnished.on(second, "cat /etc/fake-rules").strip() == rule
    assert play_there(furnished, second, "prepare.yml", *options, **variables).changed == set()
    play_there(furnished, second, "undo.yml", *options)
    assert furnished.on(second, "ls /etc/fake-rules /etc/fake-service", check=False) == ""


EPILOGS = {
    "flux": ("FLUX_JOB_ID", "FLUX_JOB_USERID", "FLUX_ENCLOSING_ID"),
    "slurm": ("SLURM_JOB_ID", "SLURM_JOB_UID", "SLURM_JOB_ID"),
}


@pytest.mark.parametrize("system", EPILOGS)
def test_the_epilog_ends_nodes_of_its_job_only(virtual_hosts: VirtualHosts, system: str) -> None:
    name = virtual_hosts.names[0]
    job, user, remote = EPILOGS[system]
    epilog = (ROOT / "playbooks/roles" / system / "files/epilog").read_text()
    virtual_hosts.on(name, f"cat > /tmp/epilog <<'END'\n{epilog}END\nchmod 755 /tmp/epilog; mkdir -p /tmp/bin")
    virtual_hosts.on(name, "printf '#!/bin/sh\\necho $4\\n' > /tmp/bin/flux; chmod 755 /tmp/bin/flux")
    started = {}
    for label, variable, program in (
        ("of this job", f"{remote}=42", "/var/tmp/usernetes-1000/program/1a2b3c4d5e6f7a8b/node.pyz"),
        ("of this job, by the local launcher", f"{job}=42", "/home/u/.cache/usernetes/node/node-1a2b3c4d.pyz"),
        ("of another job", f"{job}=43", "/var/tmp/usernetes-1000/program/1a2b3c4d5e6f7a8b/node.pyz"),
        ("another program of this job", f"{job}=42", "/var/tmp/workflow"),
    ):
        words = f"{program} run --directory=/var/tmp/usernetes-1000/a1b2c3d4-0 --die-with-parent"
        script = f"exec env {variable} python3 -c 'import time; time.sleep(600)' {words}"
        started[label] = subprocess.Popen(virtual_hosts.argv_on(name, "sh", "-c", script, user=virtual_hosts.user))
    virtual_hosts.on(name, "sleep 0.5")
    said = virtual_hosts.on(name, f"PATH=/tmp/bin:$PATH {job}=42 {user}=$(id -u {virtual_hosts.user}) /tmp/epilog 2>&1")
    try:
        assert started["of this job"].wait(timeout=5) == -9
        assert started["of this job, by the local launcher"].wait(timeout=5) == -9
        assert said.count("killed") == 2
        assert started["of another job"].poll() is None
        assert started["another program of this job"].poll() is None
    finally:
        for process in started.values():
            process.kill()
            process.wait()
