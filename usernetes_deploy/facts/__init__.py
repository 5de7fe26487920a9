"""What a host is like, asked in one POSIX shell script, and whether a node can run on it.

One question a file: ``COMMAND`` (a piece of the script), ``parse(text)`` (pure) and ``judge(answer, need)``. Nothing
is installed or changed on the host.

>>> text = subprocess.run(["sh", "-s"], input=facts.script(need), ...).stdout        # doctest: +SKIP
>>> host = facts.read(text)                                                          # doctest: +SKIP
>>> facts.judge(host, need, node="node03")                                           # doctest: +SKIP
[Problem(what='the user has no subordinate uids in /etc/subuid',
         remedy='usernetes prepare --tags subid --user alice --hosts node03', fact='subid', severity='problem')]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

from usernetes_deploy.facts import (
    cgroups,
    clock,
    devices,
    interfaces,
    kernel,
    limits,
    machine,
    modules,
    newuidmap,
    nftables,
    node_disk,
    os_release,
    outer,
    ports,
    python,
    resolver,
    security,
    subid,
    sysctls,
    tools,
    tun,
    user,
    user_namespaces,
)
from usernetes_deploy.facts.base import (
    Need,
    NotUnderstood,
    Problem,
    Severity,
    addressed,
    shell_assignments,
)

__all__ = [
    "FACTS",
    "HostFacts",
    "Need",
    "NotUnderstood",
    "Problem",
    "Severity",
    "choose_interface",
    "choose_node_dir",
    "judge",
    "judge_together",
    "name",
    "read",
    "script",
    "split",
]

FACTS: tuple[ModuleType, ...] = (
    clock,
    os_release,
    kernel,
    user,
    python,
    user_namespaces,
    subid,
    newuidmap,
    security,
    tun,
    outer,
    nftables,
    tools,
    modules,
    cgroups,
    node_disk,
    limits,
    sysctls,
    machine,
    interfaces,
    resolver,
    ports,
    devices,
)
"""Every question, in the order of asking and of reporting."""


@dataclass(frozen=True)
class HostFacts:
    """All answers of one host; each field is named like its module."""

    clock: clock.Clock
    os_release: os_release.OsRelease
    kernel: kernel.Kernel
    user: user.User
    python: python.Python
    user_namespaces: user_namespaces.UserNamespaces
    subid: subid.Subid
    newuidmap: newuidmap.Newuidmap
    security: security.Security
    tun: tun.Tun
    outer: outer.Outer
    nftables: nftables.Nftables
    tools: tools.Tools
    modules: modules.Modules
    cgroups: cgroups.Cgroups
    node_disk: node_disk.NodeDisk
    limits: limits.Limits
    sysctls: sysctls.Sysctls
    machine: machine.Machine
    interfaces: interfaces.Interfaces
    resolver: resolver.Resolver
    ports: ports.Ports
    devices: devices.Devices


# `say` puts a value on one line whatever it contains. `peek` must not use `read`: it reads byte by byte in some shells,
# and the files of /proc/sys give their first bytes only.
PRELUDE = """
export LC_ALL=C
PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"; export PATH
say() { said=$1; shift; set -f; set -- $*; set +f; printf '%s=%s\\n' "$said" "$*"; }
peek() {
  peeked=
  if [ -r "$2" ]; then peeked=$(cat "$2" 2>/dev/null); fi
  say "$1" "${peeked:--}"
}
uid=$(id -u); gid=$(id -g); me=$(id -un 2>/dev/null) || me=$uid
python= python_version= python_newest=
for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
  command -v $candidate >/dev/null || continue
  version=$($candidate -I -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
  case $version in
    3.[0-8].*|2.*) python_newest=${python_newest:-$version} ;;
    *) python=$candidate python_version=$version; break ;;
  esac
done
if userns=$(unshare -Urm mount -t tmpfs tmpfs /tmp 2>&1); then userns=works; else userns="fails: $userns"; fi
"""


def name(fact: ModuleType) -> str:
    """A fact's name: ``name(tun)`` is ``'tun'``."""
    return fact.__name__.rpartition(".")[2]


def script(need: Need) -> str:
    """The whole probe as one script for ``sh -s``; it reads nothing from its own stdin and leaves nothing behind.

    Every answer starts with a line that carries the shell's pid, so that no answer, and nothing that a login shell
    prints before, can be taken for one.
    """
    questions = "".join(
        f"printf '@usernetes %s %s\\n' \"$$\" {name(fact)}\n({fact.COMMAND.rstrip()}\n) 2>/dev/null\n" for fact in FACTS
    )
    return (
        "probe() {\n" + shell_assignments(need) + PRELUDE + questions + "printf '@usernetes %s end\\n' \"$$\"\n}\n"
        "probe </dev/null\n"
    )


def split(text: str) -> dict[str, str]:
    """The raw answer of each fact. Raises `NotUnderstood` when the script did not come to its end."""
    marker = None
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        match = re.fullmatch(r"@usernetes (\d+) ([a-z_]+)", line)
        if match and marker in {None, match[1]}:
            marker = match[1]
            if match[2] in found:
                raise NotUnderstood(match[2], line, "there twice")
            current = found.setdefault(match[2], [])
        elif current is not None:
            current.append(line)
    if "end" not in found:
        last = next(reversed(found), "the first fact")
        raise NotUnderstood(last, text.strip()[-200:], "cut short")
    del found["end"]
    return {fact: "".join(f"{line}\n" for line in lines) for fact, lines in found.items()}


def read(text: str, *, asked: float | None = None, answered: float | None = None) -> HostFacts:
    """The host's facts from what the script printed. Raises `NotUnderstood`, which quotes the line.

    `asked` and `answered` are the driver's clock (seconds since the epoch) before and after, to compare clocks by.
    """
    answers = split(text)
    parsed = {}
    for fact in FACTS:
        if name(fact) not in answers:
            raise NotUnderstood(name(fact), text.strip()[-200:], "missing")
        parsed[name(fact)] = fact.parse(answers[name(fact)])
    parsed["clock"] = clock.with_times(parsed["clock"], asked, answered)
    return HostFacts(**parsed)


def judge(host: HostFacts, need: Need, *, node: str = "") -> list[Problem]:
    """Everything that the host lacks, at once; for the remedies: `node` is its name ("" where it is this machine)."""
    found = []
    for fact in FACTS:
        answer = getattr(host, name(fact))
        problems = node_disk.judge(answer, need, host.user.uid) if fact is node_disk else fact.judge(answer, need)
        found += [
            replace(problem, fact=name(fact), remedy=addressed(problem.remedy, host.user.name, node))
            for problem in problems
        ]
    return found


def judge_together(hosts: Mapping[str, HostFacts]) -> dict[str, list[Problem]]:
    """What only shows when the hosts are compared, by node: clocks, machine type, user."""
    found: dict[str, list[Problem]] = {node: [] for node in hosts}
    for node, problem in clock.judge_together({node: host.clock for node, host in hosts.items()}).items():
        found[node].append(replace(problem, fact="clock"))
    for what, fact, values in (
        ("machine type", "kernel", {node: host.kernel.machine for node, host in hosts.items()}),
        ("user", "user", {node: host.user.name for node, host in hosts.items()}),
    ):
        usual = Counter(values.values()).most_common(1)[0][0] if values else ""
        for node, value in values.items():
            if value != usual:
                found[node].append(
                    Problem(f"{what} {value}; the other hosts have {usual}", "take hosts that are alike", fact)
                )
    return {node: problems for node, problems in found.items() if problems}


def choose_interface(host: HostFacts, need: Need) -> interfaces.Choice | str:
    """The interface that nodes meet on, or why there is none; see `interfaces.choose`."""
    return interfaces.choose(host.interfaces, need.interface)


def choose_node_dir(host: HostFacts, need: Need) -> node_disk.Choice:
    """The directory that the node lives in, or why none is fit; see `node_disk.choose`."""
    return node_disk.choose(host.node_disk, need, host.user.uid)
