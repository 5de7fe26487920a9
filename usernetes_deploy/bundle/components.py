"""Reads ``components.yaml``: what the bundle is made of, pinned, and how each part is built or downloaded."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy.bundle import images
from usernetes_deploy.errors import UsageError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class GoBuild:
    """Commands of one Go module: `folder` has the go.mod and go.sum, `files` the package of each bundle path."""

    folder: Path
    module: str
    files: Mapping[str, str]
    stamps: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    cgo: bool = False


@dataclass(frozen=True)
class CBuild:
    """One static C program, whose source is in a Go module and so pinned by its go.sum."""

    folder: Path
    module: str
    source: str
    flags: Sequence[str]


@dataclass(frozen=True)
class Release:
    """A release archive: its `url`, and the member for each bundle path ("" where the download is the file itself)."""

    url: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Component:
    """One pinned part of the bundle.

    `image` says that its one file becomes an OCI image in ``images/``; `system` that it is a file of the distribution;
    `packages` is how many Go packages it is built of, about: it decides no bytes, only what is built first.
    """

    name: str
    version: str
    licence: str
    why: str
    optional: bool = False
    go: GoBuild | None = None
    c: CBuild | None = None
    release: Release | None = None
    system: Sequence[str] = ()
    image: bool = False
    packages: int = 0

    @property
    def module(self) -> str:
        """The Go module it comes from, "" for a file of the distribution."""
        recipe = self.go or self.c
        return recipe.module if recipe else ""

    def key(self, *facts: str) -> str:
        """A short name of everything that decides its bytes: recipe, sources, and `facts` (the tools' versions)."""
        parts = [json.dumps(self._recipe(), sort_keys=True, default=str), *facts]
        recipe = self.go or self.c
        if recipe:
            for path in source_files(recipe.folder):
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                parts += [path.relative_to(recipe.folder).as_posix(), sha256]
        if self.image:
            parts.append(hashlib.sha256(Path(images.__file__).read_bytes()).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _recipe(self) -> dict[str, Any]:
        def plain(recipe: GoBuild | CBuild | Release | None) -> dict[str, Any] | None:
            return {key: value for key, value in vars(recipe).items() if key != "folder"} if recipe else None

        return {
            "version": self.version,
            "go": plain(self.go),
            "c": plain(self.c),
            "release": plain(self.release),
            "image": self.image,
        }


@dataclass(frozen=True)
class Components:
    """The whole file: the least version of Go, and the parts in the order in which they are built."""

    go: str
    components: Sequence[Component]

    def chosen(self, extra: Iterable[str] = ()) -> list[Component]:
        """The required components and the optional ones named in `extra`. Raises `UsageError` for an unknown name."""
        wanted = set(extra)
        optional = {component.name for component in self.components if component.optional}
        if wanted - optional:
            raise UsageError(
                f"there is no optional component {', '.join(sorted(wanted - optional))}",
                remedy=f"--with one of: {', '.join(sorted(optional))}",
            )
        return [component for component in self.components if not component.optional or component.name in wanted]


def load(path: Path = HERE / "components.yaml") -> Components:
    """Read the pinned components, with ``{version}``, ``{number}`` (no leading v), ``{arch}``, ``{machine}`` filled."""
    document = yaml.safe_load(path.read_text())
    return Components(str(document["go"]), [_component(path.parent, one) for one in document["components"]])


def source_files(folder: Path) -> list[Path]:
    """What decides the bytes built in `folder`: its Go sources and module files, in order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name in ("go.mod", "go.sum") or (path.suffix in (".go", ".c") and not path.name.endswith("_test.go"))
    )


def _component(here: Path, said: Mapping[str, Any]) -> Component:
    version = str(said["version"])
    words = {
        "version": version,
        "number": version.removeprefix("v"),
        "arch": images.architecture(),
        "machine": platform.machine(),
    }
    filled = _fill(said, words)
    go, c, release = filled.get("go"), filled.get("c"), filled.get("release")
    return Component(
        name=filled["name"],
        version=version,
        licence=filled["licence"],
        why=filled["why"],
        optional=filled.get("optional", False),
        go=GoBuild(**{**go, "folder": here / go["folder"]}) if go else None,
        c=CBuild(**{**c, "folder": here / c["folder"]}) if c else None,
        release=Release(**release) if release else None,
        system=tuple(filled.get("system", ())),
        image=filled.get("image", False),
        packages=int(filled.get("packages", 0)),
    )


def _fill(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace("{" + word + "}", text)
        return value
    if isinstance(value, dict):
        return {_fill(key, words): _fill(item, words) for key, item in value.items()}
    return [_fill(item, words) for item in value] if isinstance(value, list) else value
