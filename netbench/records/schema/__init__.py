"""Frozen dataclasses as the one truth: JSON in (every problem with its path), JSON out, and the JSON Schema of it.

A field's type and its ``about(...)`` say what is valid; `decode` enforces it and `json_schema` publishes it, so the two
cannot drift apart. Supported types: str, int, float, bool, Literal, ``X | None``, ``tuple[X, ...]``,
``Mapping[str, X]`` and dataclasses.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy.errors import UsageError

Problems = list[tuple[str, str]]
_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
PLAIN = frozenset((*_NAMES, types.NoneType))
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def about(description: str, *, default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """A dataclass field with its description and rules: ``minimum``, ``pattern`` (JSON Schema's words).

    >>> @dataclasses.dataclass(frozen=True)
    ... class Port:
    ...     number: int = about("TCP port", minimum=1)
    >>> decode(Port, {"number": 0})
    (None, [('number', 'expected >= 1, got 0')])
    """
    metadata = {"description": description, "required": default is dataclasses.MISSING, "default": default, **rules}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parsed(source: Path, loader: type = yaml.SafeLoader) -> Any:
    """What a YAML file says, to be decoded; `loader` is a safe one. Raises `UsageError` with file and reason."""
    try:
        return yaml.load(source.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{source}: {error}") from error


def decode(kind: type, data: Any, path: str = "") -> tuple[Any, Problems]:
    """Make a `kind` of parsed JSON: ``(object, [])`` or ``(None, [(path, problem), ...])`` with all problems."""
    problems: Problems = []
    value = _decode(kind, data, path, {}, problems)
    return (None, problems) if problems else (value, [])


def encode(value: Any) -> Any:
    """The JSON form of a dataclass: fields in order, those equal to their default left out.

    >>> encode(("a", 1))
    ['a', 1]
    """
    if type(value) in PLAIN:
        return value
    if dataclasses.is_dataclass(value):
        fields = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: encode(held) for f, held in fields if f.metadata["required"] or held != f.metadata["default"]}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return value


def json_schema(kind: type, title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a dataclass, with its members under ``$defs``."""
    definitions: dict[str, Any] = {}
    root = _schema_of(kind, {}, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


@cache
def _fields(kind: type) -> tuple[tuple[str, Any, Mapping[str, Any], bool], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((f.name, hints[f.name], f.metadata, f.metadata["required"]) for f in dataclasses.fields(kind))


@cache
def _taken_apart(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


def _decode(kind: Any, data: Any, path: str, rules: Mapping[str, Any], problems: Problems) -> Any:
    origin, args = _taken_apart(kind)
    if origin in {types.UnionType, typing.Union}:
        if data is None:
            return None
        return _decode(next(a for a in args if a is not types.NoneType), data, path, rules, problems)
    if origin is typing.Literal:
        if data not in args:
            problems.append((path, f"expected {' or '.join(map(repr, args))}, got {_shown(data)}"))
        return data
    if origin is tuple and isinstance(data, list):
        return tuple(_decode(args[0], item, f"{path}[{i}]", rules, problems) for i, item in enumerate(data))
    if origin is Mapping and isinstance(data, dict):
        return {key: _decode(args[1], item, f"{path}.{key}", rules, problems) for key, item in data.items()}
    if origin is not None:
        problems.append((path, f"expected {'a list' if origin is tuple else 'an object'}, got {_shown(data)}"))
        return None
    if dataclasses.is_dataclass(kind):
        return _decode_object(typing.cast("type", kind), data, path, problems)
    return _decode_plain(kind, data, path, rules, problems)


def _decode_object(kind: type, data: Any, path: str, problems: Problems) -> Any:
    if not isinstance(data, dict):
        problems.append((path or "(the file)", f"expected an object, got {_shown(data)}"))
        return None
    before, values = len(problems), {}
    fields = _fields(kind)
    for name, hint, rules, required in fields:
        here = f"{path}.{name}" if path else name
        if name in data:
            values[name] = _decode(hint, data[name], here, rules, problems)
        elif required:
            problems.append((here, "is missing"))
    known = {name for name, *_ in fields}
    problems.extend((f"{path}.{key}" if path else key, "is not a known field") for key in data if key not in known)
    return kind(**values) if len(problems) == before else None


def _decode_plain(kind: Any, data: Any, path: str, rules: Mapping[str, Any], problems: Problems) -> Any:
    fits = type(data) is kind or (kind is float and type(data) is int)
    if not fits:
        problems.append((path, f"expected {_NAMES[kind]}, got {_shown(data)}"))
    elif kind is float and not math.isfinite(data):
        problems.append((path, f"expected a finite number, got {data}"))
    elif "minimum" in rules and data < rules["minimum"]:
        problems.append((path, f"expected >= {rules['minimum']}, got {data}"))
    elif "pattern" in rules and not re.search(rules["pattern"], data):
        problems.append((path, f"expected the form {rules['pattern']}, got {_shown(data)}"))
    return float(data) if kind is float and fits else data


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."


def _schema_of(kind: Any, rules: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = _taken_apart(kind)
    if origin in {types.UnionType, typing.Union}:
        inner = _schema_of(next(a for a in args if a is not types.NoneType), rules, definitions)
        return {"anyOf": [inner, {"type": "null"}]}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(args[0], rules, definitions)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema_of(args[1], rules, definitions)}
    if dataclasses.is_dataclass(kind):
        return _schema_of_object(typing.cast("type", kind), definitions)
    return {"type": _JSON_TYPES[kind], **{key: rules[key] for key in ("minimum", "pattern") if key in rules}}


def _schema_of_object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}
        properties = {
            field: {"description": rules["description"], **_schema_of(hint, rules, definitions)}
            for field, hint, rules, _ in _fields(kind)
        }
        definitions[name] = {
            "description": (kind.__doc__ or "").strip().split("\n\n", 1)[0].replace("\n    ", " "),
            "type": "object",
            "properties": properties,
            "required": [field for field, _, _, required in _fields(kind) if required],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}
