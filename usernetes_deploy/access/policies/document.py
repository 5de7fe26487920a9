"""Policies as they are written: a list whose items are a name, or a name with parameters.

::

    policies:
      - no-host-network: {except: {namespaces: [mpi]}}
      - no-privileged
      - registries: {allowed: [registry.example.org, docker.io/library]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from usernetes_deploy.access.policies.library import EXCEPT, EXEMPTIONS, LIBRARY, NAMED, Kind
from usernetes_deploy.errors import SpecError

Source = Literal["site", "spec", "file"]
TITLES = {"site": "the site's file", "spec": "the spec", "file": "the file"}
Problem = tuple[str, str]


@dataclass(frozen=True)
class Policy:
    """One policy in force. `exempt` has namespaces, users and groups; all policies of all sources hold at once.

    >>> Policy("registries", "site", {"allowed": ["docker.io"]}).title
    "policy registries of the site's file"
    """

    name: str
    source: Source
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exempt: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How messages begin."""
        return f"policy {self.name} of {TITLES[self.source]}"

    @property
    def allowed(self) -> list[str]:
        """What it allows, as text."""
        return [str(item) for item in self.parameters.get("allowed", ())]


def parse(items: Any, source: Source) -> list[Policy]:
    """The policies of a list. Raises `SpecError` with all that is wrong with it.

    >>> [policy.name for policy in parse(["no-privileged", {"host-paths": {"allowed": []}}], "spec")]
    ['no-privileged', 'host-paths']
    """
    problems = mistakes(items)
    if problems:
        raise SpecError(problems)
    found = []
    for item in items:
        name, given = (item, {}) if isinstance(item, str) else next(iter(item.items()))
        parameters = {key: value for key, value in given.items() if key != EXCEPT}
        found.append(Policy(name, source, parameters, given.get(EXCEPT, {})))
    return found


def mistakes(items: Any) -> list[Problem]:
    """What is wrong with a list of policies, each with its path.

    >>> mistakes(["no-hostnetwork"])[0][1][:40]
    'there is no such policy; there are no-ho'
    """
    if not isinstance(items, list | tuple):
        return [("policies", f"expected a list, got {items!r}")]
    found: list[Problem] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        path = f"policies[{index}]"
        if isinstance(item, str):
            item = {item: {}}  # noqa: PLW2901
        if not isinstance(item, Mapping) or len(item) != 1:
            found.append((path, f"expected a name, or one name with its parameters, got {item!r}"))
            continue
        name, given = next(iter(item.items()))
        if name not in LIBRARY:
            found.append((path, f"there is no such policy; there are {', '.join(LIBRARY)}; got {name!r}"))
            continue
        if name in seen:
            found.append((path, f"{name} is there twice"))
        seen.add(name)
        found += _wrong(f"{path}.{name}", LIBRARY[name], given)
    return found


def _wrong(path: str, kind: Kind, given: Any) -> Iterator[Problem]:
    if not isinstance(given, Mapping):
        yield path, f"expected a mapping of parameters, got {given!r}"
        return
    known = [*kind.parameters, *([EXCEPT] if "API" in kind.by else [])]
    for key, value in given.items():
        if key == EXCEPT and EXCEPT in known:
            yield from _wrong_exemptions(f"{path}.{EXCEPT}", value)
            continue
        if key not in kind.parameters:
            yield f"{path}.{key}", f"unknown parameter; {kind.name} takes {', '.join(known) or 'none'}"
            continue
        parameter = kind.parameters[key]
        if not parameter.items:
            if expected := parameter.wrong(value):
                yield f"{path}.{key}", f"expected {expected}, got {value!r}"
        elif not isinstance(value, list):
            yield f"{path}.{key}", f"expected a list, got {value!r}"
        else:
            for number, one in enumerate(value):
                if expected := parameter.wrong(one):
                    yield f"{path}.{key}[{number}]", f"expected {expected}, got {one!r}"
    for key, parameter in kind.parameters.items():
        if parameter.needed and key not in given:
            yield f"{path}.{key}", "this parameter has to be there"
    if kind.any_of and not any(key in given for key in kind.parameters):
        yield path, f"expected one of {', '.join(kind.parameters)}"


def _wrong_exemptions(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield path, f"expected {', '.join(EXEMPTIONS)}, got {value!r}"
        return
    for key, names in value.items():
        if key not in EXEMPTIONS:
            yield f"{path}.{key}", f"unknown field; the fields here are {', '.join(EXEMPTIONS)}"
        elif not isinstance(names, list) or any(NAMED(name) for name in names):
            yield f"{path}.{key}", f"expected a list of names, got {names!r}"
