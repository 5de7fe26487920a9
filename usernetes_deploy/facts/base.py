"""What the facts share: the need they are judged by, the problems they find, strict reading of ``key=value`` lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.paths import longest_socket_tail

Severity = Literal["problem", "warning"]


@dataclass(frozen=True)
class Need:
    """What a node needs of its host. The defaults are those of a cluster spec that says nothing.

    `ports` are ``"tcp/6443"`` or ``"udp/51820"``, bound on `address` ("" is every address). `node_dir` "" lets the
    probe choose among node-local directories; `socket_tail` is how many bytes the longest socket path of a node adds
    to that directory. `interface` is a name, a CIDR, or "" for the default route's. `devices` are globs of device
    files, or ``"cdi:KIND=NAME"``. Sizes are bytes.
    """

    subids: int = 65536
    node_dir: str = ""
    disk: int = 2 * 1024**3
    memory: int = 1024**3
    socket_tail: int = longest_socket_tail("a1b2c3d4-4095")
    ports: tuple[str, ...] = ()
    address: str = ""
    cidrs: tuple[str, ...] = ("10.244.0.0/16", "10.96.0.0/16", "10.64.0.0/16")
    outer: Literal["auto", "slirp4netns", "pasta"] = "auto"
    network: Literal["mesh", "flannel"] = "mesh"
    interface: str = ""
    devices: tuple[str, ...] = ()
    limits_required: bool = False
    nameservers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One thing that a host lacks: what it is, what to do, which fact found it.

    A ``problem`` stops the node; with a ``warning`` it runs, but not as well as it could.
    """

    what: str
    remedy: str = ""
    fact: str = ""
    severity: Severity = "problem"


def warning(what: str, remedy: str = "") -> Problem:
    """A `Problem` that does not stop the node."""
    return Problem(what, remedy, severity="warning")


PREPARE = "usernetes prepare --tags "


def playbook(tag: str) -> str:
    """The remedy that root's playbook is, as `usernetes prepare` runs it; `tag` is the name of the role.

    >>> playbook("subid")
    'usernetes prepare --tags subid'
    """
    return PREPARE + tag


def addressed(remedy: str, user: str, node: str = "") -> str:
    """The remedy with the user whom the host is prepared for, and the host unless it is this one.

    >>> addressed("choose another port, or usernetes prepare --tags sysctl", "alice", "node03")
    'choose another port, or usernetes prepare --tags sysctl --user alice --hosts node03'
    """
    options = f" --user {user}" + (f" --hosts {node}" if node else "")
    return re.sub(f"{re.escape(PREPARE)}\\w+", lambda match: match[0] + options, remedy)


class NotUnderstood(UsernetesError):
    """A host's answer is not what its question can produce; the text quotes the line."""

    def __init__(self, fact: str, line: str, why: str = "not understood"):
        self.fact = fact
        self.line = line
        super().__init__(f"the answer to {fact} is {why}: {line!r}", tried="probe the host")


def entries(fact: str, text: str, known: Iterable[str]) -> list[tuple[str, str]]:
    """The ``key=value`` lines of an answer, in order; a line with any other key is `NotUnderstood`.

    >>> entries("tun", "mode=660\\nmode=666", ["mode"])
    [('mode', '660'), ('mode', '666')]
    """
    keys = set(known)
    found = []
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or key not in keys:
            raise NotUnderstood(fact, line)
        found.append((key, value))
    return found


def pairs(fact: str, text: str, known: Iterable[str]) -> dict[str, str]:
    """The answer as a dictionary that has every key of `known` exactly once.

    >>> pairs("tun", "mode=660", ["mode"])
    {'mode': '660'}
    """
    keys = list(known)
    found: dict[str, str] = {}
    for key, value in entries(fact, text, keys):
        if key in found:
            raise NotUnderstood(fact, f"{key}={value}", "said twice")
        found[key] = value
    for key in keys:
        if key not in found:
            raise NotUnderstood(fact, text.strip()[-200:], f"without {key!r}")
    return found


def number(fact: str, key: str, value: str) -> int:
    """`value` as a whole number, or `NotUnderstood` with its line."""
    try:
        return int(value)
    except ValueError:
        raise NotUnderstood(fact, f"{key}={value}", "not a number") from None


def maybe_number(fact: str, key: str, value: str) -> int | None:
    """Like `number`; None when the host has no such thing (it said ``-``)."""
    return None if value == "-" else number(fact, key, value)


def flag(fact: str, key: str, value: str) -> bool:
    """``yes`` or ``no`` as a bool."""
    if value not in {"yes", "no"}:
        raise NotUnderstood(fact, f"{key}={value}")
    return value == "yes"


def version_tuple(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, to compare: ``"5.14.0-427.el9"`` is ``(5, 14, 0)``."""
    numbers = []
    for part in text.lstrip("v").split("."):
        digits = ""
        for char in part:
            if not char.isdigit():
                break
            digits += char
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def size(number_of_bytes: int) -> str:
    """Bytes for people: ``size(3 * 1024**3)`` is ``'3.0 GiB'``."""
    value = float(number_of_bytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def shell_assignments(need: Need) -> str:
    """The parameters of the questions, as the first lines of the script."""
    values = {
        "need_node_dir": need.node_dir,
        "need_ports": " ".join(need.ports),
        "need_address": need.address,
        "need_devices": " ".join(need.devices),
        "need_nameservers": " ".join(need.nameservers),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
