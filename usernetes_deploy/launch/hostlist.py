"""Lists of hosts as people write them: ``node[01-16]``, comma lists, files, YAML; and back to the short form.

>>> expand("a[1-3,7]b,login")
['a1b', 'a2b', 'a3b', 'a7b', 'login']
>>> compress(["a1b", "a2b", "a3b", "a7b", "login"])
'a[1-3,7]b,login'
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy.errors import SpecError, UsageError

MOST_HOSTS = 100_000  # a slip such as node[1-99999999] is an error, not gigabytes

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_NUMBERED = re.compile(r"([^.]*?)(\d+)([^.\d]*(?:\..*)?)")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DESTINATION = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^\s:@]+))(?::(?P<port>\d+))?"
)
_FIELDS = {
    "name": str,
    "address": str,
    "user": str,
    "port": int,
    "identity_file": str,
    "proxy_jump": str,
    "labels": dict,
}


@dataclass(frozen=True)
class Target:
    """A host to be reached by SSH; "" and 0 leave the answer to ``~/.ssh/config``.

    `name` becomes the Kubernetes node's name; `address` is what is given to ssh as the host,
    `options` what is given to ssh besides, such as ``("-o", "ProxyJump=login")``.
    """

    name: str
    address: str
    user: str = ""
    port: int = 0
    identity_file: str = ""
    proxy_jump: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def expand(text: str) -> list[str]:
    """Every name of a list such as ``node[01-16],gpu[1,3]``, in its order. Raises `UsageError` that quotes the part.

    A range keeps the width of its first number: ``n[08-11]`` is n08, n09, n10, n11.
    """
    names: list[str] = []
    for part in _split(text):
        pieces = [_numbers(piece[1:-1], part) if piece[0] == "[" else [piece] for piece in _pieces(part)]
        if len(names) + math.prod(map(len, pieces)) > MOST_HOSTS:
            raise UsageError(f"{part!r} is more than {MOST_HOSTS} hosts")
        names.extend("".join(choice) for choice in itertools.product(*pieces))
    return names


def compress(names: Iterable[str]) -> str:
    """The short form, which `expand` turns back into the same names in the same order."""
    groups: list[tuple[str, str, list[list[str]]]] = []
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if not found:
            groups.append((name, "", []))
            continue
        prefix, number, suffix = found.groups()
        if groups and groups[-1][:2] == (prefix, suffix) and groups[-1][2]:
            ranges = groups[-1][2]
            first, last = ranges[-1][0], ranges[-1][-1]
            if f"{int(last) + 1:0{len(first)}d}" == number:
                ranges[-1][1:] = [number]
            else:
                ranges.append([number])
        else:
            groups.append((prefix, suffix, [[number]]))
    return ",".join(_short(prefix, suffix, ranges) for prefix, suffix, ranges in groups)


def load(source: str) -> list[Target]:
    """The hosts of `source`: a file (YAML, or a list with ``#`` comments) or, where there is no such file, a list.

    Raises `UsageError`: nothing listed, a host listed twice, an unknown field, a name Kubernetes would refuse.

    >>> load("hpc@n[1-2]:2222")[1]
    Target(name='n2', address='n2', user='hpc', port=2222, identity_file='', proxy_jump='', labels={}, options=())
    """
    path = Path(source).expanduser()
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    if text is None:
        looks_like_a_file = path.suffix in (".yaml", ".yml", ".ini", ".txt", ".json") or "/" in source
        if looks_like_a_file:
            raise UsageError(f"there is no host file {source}")
        return checked(targets(expand(source)), "the host list")
    return checked(from_text(text, str(path)), str(path))


def from_text(text: str, source: str = "the host list") -> list[Target]:
    """The hosts of a file's text: YAML with ``hosts:``, a YAML list, or lines and comma lists with ``#`` comments."""
    if re.search(r"^\s*(-\s|hosts\s*:|\{|\[\s*[\"'{])", text, re.MULTILINE):
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{source} is no YAML: {error}") from None
        return _from_data(data, source)
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return targets([name for line in lines for word in line.split() for name in expand(word)])


def targets(destinations: Iterable[str]) -> list[Target]:
    """Targets from ``[user@]host[:port]``; an IPv6 address with a port is ``[fd00::1]:2222``."""
    made = []
    for text in destinations:
        found = _DESTINATION.fullmatch(text)
        if _is_ipv6(text):
            made.append(Target(node_name(text), text))
        elif found and not text.startswith("-") and not (found["host"] or "").startswith("-"):
            address = found["six"] or found["host"]
            made.append(Target(node_name(address), address, found["user"] or "", int(found["port"] or 0)))
        else:
            raise UsageError(f"{text!r} is no [user@]host[:port]")
    return made


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def node_name(host: str) -> str:
    """The Kubernetes node name of `host`: lower case, ``_`` and ``:`` become ``-``. `UsageError` if it is unfit."""
    name = host.lower().replace("_", "-").replace(":", "-").partition("%")[0].strip("-")
    if len(name) > 253 or not name or not all(len(part) <= 63 and _LABEL.fullmatch(part) for part in name.split(".")):
        raise UsageError(f"{host!r} cannot be the name of a node: letters, digits, '-' and '.' only")
    return name


def checked(hosts: Sequence[Target], source: str) -> list[Target]:
    """`hosts` with names for nodes, or `UsageError`: an empty list, and every host that is listed twice.

    A node is called after the first part of its host's name where that tells the hosts apart, else after all of it.
    """
    if not hosts:
        raise UsageError(f"{source} names no host")
    seen: dict[str, int] = {}
    for host in hosts:
        seen[host.name] = seen.get(host.name, 0) + 1
    twice = [f"{name} ({count} times)" for name, count in seen.items() if count > 1]
    if twice:
        raise UsageError(f"{source} names a host more than once: {', '.join(twice)}")
    short = [host.name if _is_address(host.name) else host.name.partition(".")[0] for host in hosts]
    unique = len(set(short)) == len(short)
    names = [name.replace(".", "-") for name in (short if unique else seen)]
    same = {name: [host.name for host, other in zip(hosts, names, strict=True) if other == name] for name in names}
    here = [host.name for host in hosts if _is_loopback(host.name)]
    if len(here) > 1:
        same["this machine"] = here
    alike = [f"{' and '.join(called)} are both {name}" for name, called in same.items() if len(called) > 1]
    if alike:
        raise UsageError(
            f"{source} has hosts that would be one node: {'; '.join(alike)}",
            remedy="leave one out, or give it a `name` of its own in a host file",
        )
    return [dataclasses.replace(host, name=name) for host, name in zip(hosts, names, strict=True)]


def _is_loopback(name: str) -> bool:
    return name in ("localhost", "--1", "::1") or re.fullmatch(r"127(\.\d+){3}", name) is not None


def _is_address(name: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+){3}", name) is not None


def _split(text: str) -> list[str]:
    parts, depth, begun = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth not in (0, 1):
            raise UsageError(f"the brackets of {text!r} do not match")
        if letter == "," and not depth:
            parts.append(text[begun:at])
            begun = at + 1
    if depth:
        raise UsageError(f"the brackets of {text!r} do not match")
    parts.append(text[begun:])
    parts = [part.strip() for part in parts]
    if parts == [""]:
        return []
    if "" in parts:
        raise UsageError(f"{text!r} has a comma with no name beside it")
    return parts


def _pieces(part: str) -> list[str]:
    """Literal and bracket pieces; ``[fd00::1]`` is an address, not a range."""
    pieces: list[str] = []
    for piece in re.split(r"(\[[^\]]*\])", part):
        if not piece:
            continue
        if piece[0] == "[" and ":" in piece and pieces:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _numbers(text: str, part: str) -> list[str]:
    if ":" in text:
        return [f"[{text}]"]
    numbers: list[str] = []
    for word in text.split(","):
        found = _RANGE.fullmatch(word.strip())
        if not found:
            raise UsageError(f"{word!r} in {part!r} is no number and no range such as 01-16")
        first, last = found[1], found[2] or found[1]
        if int(last) < int(first):
            raise UsageError(f"the range {word} in {part!r} runs backwards")
        if int(last) - int(first) >= MOST_HOSTS:
            raise UsageError(f"{part!r} is more than {MOST_HOSTS} hosts")
        numbers.extend(f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
    return numbers


def _short(prefix: str, suffix: str, ranges: list[list[str]]) -> str:
    if not ranges:
        return prefix
    if len(ranges) == 1 and len(ranges[0]) == 1:
        return f"{prefix}{ranges[0][0]}{suffix}"
    return f"{prefix}[{','.join('-'.join(pair) for pair in ranges)}]{suffix}"


def _from_data(data: Any, source: str) -> list[Target]:
    if isinstance(data, dict):
        unknown = sorted(set(map(str, data)) - {"hosts"})
        if unknown:
            raise SpecError([(key, "unknown field; only hosts is known here") for key in unknown], source)
        data = data.get("hosts")
    if isinstance(data, str):
        data = [data]
    if data is None:
        data = []
    if not isinstance(data, list):
        raise SpecError([("hosts", f"expected a list, got {type(data).__name__}")], source)
    found: list[Target] = []
    problems: list[tuple[str, str]] = []
    for index, entry in enumerate(data):
        try:
            if isinstance(entry, str):
                found.extend(targets(expand(entry)))
            elif isinstance(entry, dict):
                found.extend(_from_entry(entry, f"hosts[{index}]"))
            else:
                problems.append((f"hosts[{index}]", f"expected a host, got {entry!r}"))
        except SpecError as error:
            problems.extend(error.problems)
        except UsageError as error:
            problems.append((f"hosts[{index}]", error.reason))
    if problems:
        raise SpecError(problems, source)
    return found


def _from_entry(entry: dict[Any, Any], path: str) -> list[Target]:
    problems = []
    for key, value in entry.items():
        kind = _FIELDS.get(key)
        if kind is None:
            problems.append((f"{path}.{key}", f"unknown field; known are {', '.join(_FIELDS)}"))
        elif not isinstance(value, kind) or isinstance(value, bool):
            problems.append((f"{path}.{key}", f"expected {kind.__name__}, got {value!r}"))
    if not problems and not entry.get("name"):
        problems.append((f"{path}.name", "missing"))
    if not problems and not 0 <= entry.get("port", 0) <= 65535:
        problems.append((f"{path}.port", f"expected 1 to 65535, got {entry['port']}"))
    if problems:
        raise SpecError(problems)
    names = expand(entry["name"])
    addresses = expand(entry.get("address", "")) or names
    if len(addresses) != len(names):
        raise SpecError([(f"{path}.address", f"{len(addresses)} addresses for {len(names)} names")])
    rest = {key: entry[key] for key in ("user", "port", "identity_file", "proxy_jump") if key in entry}
    labels = {str(key): str(value) for key, value in entry.get("labels", {}).items()}
    return [
        Target(node_name(name), address, labels=labels, **rest) for name, address in zip(names, addresses, strict=True)
    ]
