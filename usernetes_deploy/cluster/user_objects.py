"""The objects that a spec's `manifests` begin a cluster with; their files are read before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from usernetes_deploy.errors import SpecError

SUFFIXES = (".yaml", ".yml", ".json")


def files(sources: Sequence[str]) -> list[Path]:
    """The files of `manifests`: those named, and those of folders by name. Raises `SpecError` for all that are wrong.

    A file is right when each of its documents is an object with a kind, an apiVersion and a name.
    """
    found: list[Path] = []
    problems: list[tuple[str, str]] = []
    for index, source in enumerate(sources):
        path = Path(source)
        there = sorted(item for item in path.iterdir() if item.suffix in SUFFIXES) if path.is_dir() else [path]
        if not there:
            problems.append((f"manifests[{index}]", f"{path} has no file that ends in {', '.join(SUFFIXES)}"))
        for file in there:
            problems += [(f"manifests[{index}]", problem) for problem in mistakes(file)]
        found += there
    if problems:
        raise SpecError(problems)
    return found


def mistakes(file: Path) -> Iterator[str]:
    """What is wrong with one file, each with the number of the document in it."""
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        yield f"{file}: {error.strerror}"
        return
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield f"{file} is not YAML: {' '.join(str(error).split())}"
        return
    except RecursionError:
        yield f"{file} is nested too deeply to be read"
        return
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        where = f"{file}, document {number}"
        if not isinstance(document, dict):
            yield f"{where}: expected an object, got {type(document).__name__}"
            continue
        lacks = [key for key in ("apiVersion", "kind") if not isinstance(document.get(key), str)]
        is_list = str(document.get("kind", "")).endswith("List")
        metadata = document.get("metadata")
        if not is_list and not (isinstance(metadata, dict) and metadata.get("name")):
            lacks.append("metadata.name")
        if lacks:
            yield f"{where}: it has no {', '.join(lacks)}"
