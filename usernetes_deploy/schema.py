"""Dataclasses as schemas: documents are checked against them by pydantic, every problem with its path.

Field names are camelCase in documents and snake_case here; what a field means stands in its metadata under ``doc``.
pydantic is loaded when a document is checked, for it takes longer to load than many a command to run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import yaml

from usernetes_deploy.errors import UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
_ADAPTERS: dict[type[Any], Any] = {}
Path = tuple[Any, ...]
MOST_VALUES = 100_000  # of a document: nobody writes more, and a few aliases of aliases are gigabytes
WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to values",
    "mapping_type": "a mapping of names to values",
    "dataclass_type": "a mapping of fields",
    "dataclass_exact_type": "a mapping of fields",
}


def camel(name: str) -> str:
    """``api_port`` -> ``apiPort``; CIDR keeps the field's own spelling.

    >>> [camel(name) for name in ("pod_cidr", "min_nodes")]
    ['podCIDR', 'minNodes']
    """
    head, *rest = name.split("_")
    return head + "".join("CIDR" if part == "cidr" else part.capitalize() for part in rest)


def build(cls: type[T], body: Mapping[str, Any]) -> tuple[T, list[tuple[str, str]]]:
    """Make a `cls` of a document, and list all that is wrong with it as (path, problem).

    What is wrong is left out of the object, so that further checks can be made on the rest. Fields without a default
    must be among the right ones.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int = 0
    >>> build(Point, {"x": "3", "y": 1})
    (Point(x=0), [('x', "expected a whole number, got '3'"), ('y', 'unknown field; the fields here are x')])
    """
    from pydantic import ValidationError

    document = _prepared(body)
    problems: dict[str, str] = {}
    while True:
        try:
            made = _adapter(cls).validate_json(json.dumps(document, default=str))
            return made, sorted(problems.items(), key=_order(body))
        except ValidationError as failed:
            for error in reversed(failed.errors(include_url=False)):  # the last item of a list goes first
                where: Path = tuple(error["loc"])
                value = error.get("input")
                if error["type"] == "string_type" and type(value) is int:
                    _put(document, where, str(value))  # `systemCpus: 0` is a number to YAML alone
                    continue
                problems[shown(where)] = _problem(cls, where, error)
                _remove(document, where)


def json_schema(cls: type[Any], title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of documents of `cls`, each field with its description."""
    made = _adapter(cls).json_schema(by_alias=True)
    described: dict[str, type[Any]] = {kind.__name__: kind for kind in _classes(cls)}
    for name, part in {cls.__name__: made, **made.get("$defs", {})}.items():
        for field in dataclasses.fields(described[name]):
            entry = part["properties"][camel(field.name)]
            entry.pop("title", None)
            if "$ref" in entry:  # a section of which nothing is said is null in YAML
                entry["anyOf"] = [{"$ref": entry.pop("$ref")}, {"type": "null"}]
            if text := field.metadata.get("doc"):
                entry["description"] = text
        part.pop("description", None)
        part.pop("title", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **made}


def parse_yaml(text: str) -> Any:
    """A YAML document. Raises `UsageError` for a mapping that has a key twice: YAML would take the last, silently.

    So it does for what no document of ours is: aliases that hold themselves or unfold without end, endless nesting.

    >>> parse_yaml("nodes: 2\\nnodes: 9")
    Traceback (most recent call last):
    usernetes_deploy.errors.UsageError: nodes is there twice: in line 1 and in line 2
    """
    loader = _OnceLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise UsageError(f"its aliases unfold to more than {MOST_VALUES} values")
        return loader.construct_document(node)
    except RecursionError:
        raise UsageError("it is nested too deeply to be read") from None
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds when all aliases are written out; `known` are those of nodes, by their identity."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise UsageError(f"an alias in line {node.start_mark.line + 1} holds itself")
        return known[id(node)]
    known[id(node)] = 0  # being counted
    below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    inner = below if isinstance(node, yaml.CollectionNode) else []
    known[id(node)] = 1 + sum(_values(part, known) for part in inner)
    return known[id(node)]


class _OnceLoader(yaml.SafeLoader):
    """The safe loader, which refuses keys that are there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, str | int) and key in seen:
                raise UsageError(f"{key} is there twice: in line {seen[key]} and in line {line}")
            if isinstance(key, str | int):
                seen[key] = line
        return super().construct_mapping(node, deep)


def _adapter(cls: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    if cls not in _ADAPTERS:
        for kind in _classes(cls):
            kind.__pydantic_config__ = {"extra": "forbid", "strict": True, "alias_generator": camel}
        _ADAPTERS[cls] = TypeAdapter(cls)
    return cast("TypeAdapter[T]", _ADAPTERS[cls])


def _classes(cls: type[Any]) -> list[type[Any]]:
    """`cls` and the dataclasses that its fields hold."""
    import typing

    found = [cls]
    for hint in typing.get_type_hints(cls).values():
        for kind in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind not in found:
                found += _classes(kind)
    return found


def _prepared(value: Any) -> Any:
    """A copy to be changed; what is null was not said."""
    if isinstance(value, Mapping):
        return {str(key): _prepared(item) for key, item in value.items() if item is not None}
    return [_prepared(item) for item in value] if isinstance(value, list | tuple) else value


def _problem(cls: type[Any], where: Path, error: Any) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "unexpected_keyword_argument":
        return f"unknown field; the fields here are {', '.join(_fields_at(cls, where[:-1]))}"
    if kind == "literal_error":
        return f"expected one of {error['ctx']['expected'].replace(' or ', ', ').replace(chr(39), '')}, got {given!r}"
    if kind in ("missing", "missing_argument"):
        return "this field has to be there"
    return f"expected {WORDS[kind]}, got {given!r}" if kind in WORDS else f"{error['msg']}, got {given!r}"


def _fields_at(cls: type[Any], where: Sequence[Any]) -> list[str]:
    import typing

    at: Any = cls
    for step in where:
        if isinstance(step, str):
            hints = {camel(name): hint for name, hint in typing.get_type_hints(at).items()}
            at = hints[step]
        kinds = (at, *typing.get_args(at))
        at = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), at)
    return [camel(field.name) for field in dataclasses.fields(at)]


def shown(where: Sequence[Any]) -> str:
    """A path as users write it.

    >>> shown(("devices", 0, "name"))
    'devices[0].name'
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return text.removeprefix(".")


def _order(body: Mapping[str, Any]) -> Any:
    names = [str(key) for key in body]

    def place(problem: tuple[str, str]) -> int:
        first = problem[0].partition(".")[0].partition("[")[0]
        return names.index(first) if first in names else len(names)

    return place


def _put(document: Any, where: Path, value: Any) -> None:
    """Replace what is at a path."""
    _parent(document, where)[where[-1]] = value


def _remove(document: Any, where: Path) -> None:
    """Leave out what is at a path: a key of a mapping, an item of a list."""
    del _parent(document, where)[where[-1]]


def _parent(document: Any, where: Path) -> Any:
    for step in where[:-1]:
        document = document[step]
    return document
