"""A spec as a document: read from YAML, merged with flags, checked, written again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from usernetes_deploy import schema
from usernetes_deploy.cluster.spec.fields import ClusterSpec, NetworkSpec
from usernetes_deploy.cluster.spec.rules import impossible
from usernetes_deploy.errors import SpecError, UsageError
from usernetes_deploy.schema import camel

API_VERSION = "usernetes.dev/v1alpha1"


def load(document: Mapping[str, Any] | None, source: str = "the spec") -> ClusterSpec:
    """Make a spec of a parsed YAML document (camelCase keys).

    Raises `SpecError` with every unknown field, wrong type and impossible value, each with its path.
    """
    problems: list[tuple[str, str]] = []
    body = dict(document or {})
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Cluster")):
        given = body.pop(key, wanted)
        if given != wanted:
            problems.append((key, f"expected {wanted}, got {given!r}"))
    spec, wrong = schema.build(ClusterSpec, body)
    problems += wrong
    problems += impossible(spec, {path.partition("[")[0] for path, _ in problems})
    if problems:
        raise SpecError(problems, source)
    return spec


def network_of(document: Mapping[str, Any]) -> NetworkSpec:
    """The network of a spec that was checked before it was recorded.

    Nothing is checked again: loading pydantic takes longer than what ``usernetes run`` does with the answer.

    >>> network_of({"network": {"dnsDomain": "example.local"}}).dns_domain
    'example.local'
    """
    section: Mapping[str, Any] = document.get("network") or {}
    given: dict[str, Any] = {}
    for entry in dataclasses.fields(NetworkSpec):
        if (key := camel(entry.name)) in section:
            given[entry.name] = tuple(section[key]) if isinstance(section[key], list) else section[key]
    return NetworkSpec(**given)


def read(path: Path) -> dict[str, Any]:
    """Parse a spec file; raises `UsageError` when it is not there or no YAML mapping."""
    try:
        document = schema.parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(error.strerror or str(error), tried=f"read {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"not YAML: {error}", tried=f"read {path}") from error
    except UsageError as error:
        raise UsageError(error.reason, tried=f"read {path}") from error
    if not isinstance(document, dict):
        raise UsageError("expected a mapping of fields at the top", tried=f"read {path}")
    return document


def parse_value(text: str) -> Any:
    """A value from the command line, read as YAML: ``3`` is a number, ``[a, b]`` a list.

    >>> parse_value("[a, b]")
    ['a', 'b']
    """
    try:
        return schema.parse_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{text!r} is not a YAML value: {error}") from error


def merge(document: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Lay flags (dotted camelCase paths; None = not given) over a document.

    >>> merge({"network": {"mtu": 1400}}, {"network.backend": "flannel", "nodes": None})
    {'network': {'mtu': 1400, 'backend': 'flannel'}}
    """
    result: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()
    }
    for path, value in flags.items():
        if value is None:
            continue
        *parents, last = path.split(".")
        at = result
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise SpecError([(parent, "expected a mapping")])
        before = at.get(last)
        at[last] = {**before, **value} if isinstance(before, dict) and isinstance(value, Mapping) else value
    return result


def dump(spec: ClusterSpec) -> dict[str, Any]:
    """The spec as a document that `load` takes back."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {
                camel(entry.name): plain(getattr(value, entry.name))
                for entry in dataclasses.fields(value)
                if getattr(value, entry.name) not in (None, (), {})
            }
        if isinstance(value, Mapping):
            return dict(value)
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return {"apiVersion": API_VERSION, "kind": "Cluster", **plain(spec)}


def describe() -> str:
    """The default spec as commented YAML (what `usernetes spec` prints)."""
    lines = [f"apiVersion: {API_VERSION}", "kind: Cluster"]

    def walk(cls: Any, indent: str) -> None:
        for entry in dataclasses.fields(cls):
            value = entry.default_factory() if entry.default_factory is not dataclasses.MISSING else entry.default
            key = camel(entry.name)
            if dataclasses.is_dataclass(value):
                lines.append(f"{indent}{key}:" + (f"  # {type(value).__doc__}" if type(value).__doc__ else ""))
                walk(type(value), indent + "  ")
                continue
            lines.extend(f"{indent}# {text}" for text in [entry.metadata.get("doc")] if text)
            choices = get_type_hints(cls)[entry.name]
            if get_origin(choices) is Literal:
                lines[-1] += f"  [{' | '.join(get_args(choices))}]"
            empty = next((text for none, text in ((None, ""), ((), "[]"), ({}, "{}")) if value == none), None)
            shown = yaml.safe_dump(value).split("\n")[0] if empty is None else empty
            lines.append(f"{indent}{'# ' if value is None else ''}{key}: {shown}".rstrip())

    walk(ClusterSpec, "")
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a spec file, for editors and other programs."""
    made = schema.json_schema(ClusterSpec, "A cluster of usernetes-deploy")
    made["properties"] = {
        "apiVersion": {"const": API_VERSION, "description": "version of this schema"},
        "kind": {"const": "Cluster"},
        **made["properties"],
    }
    return made
