"""A cluster's kubeconfig inside the user's own (``~/.kube/config``): put in on demand, taken out by `down`.

Entries are named ``usernetes-CLUSTER`` and carry a mark, so that nobody else's entry of that name is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy.cluster.files import read_kubeconfig, write_private
from usernetes_deploy.errors import UsageError

RECORD = "merged.json"  # in the state directory: the files that a cluster was merged into
MARK = "usernetes.dev/cluster"
SECTIONS = ("clusters", "users", "contexts")


def own_file(environment: Mapping[str, str]) -> Path:
    """The file that kubectl writes to: the first of ``$KUBECONFIG``, else ``~/.kube/config``.

    >>> own_file({"KUBECONFIG": "/a/config:/b/config"})
    PosixPath('/a/config')
    """
    named = next(filter(None, environment.get("KUBECONFIG", "").split(":")), "")
    return Path(named) if named else Path(environment.get("HOME") or Path.home()) / ".kube" / "config"


def merge(directory: Path, name: str, target: Path, *, switch: bool) -> str:
    """Put the kubeconfig of the state `directory` into `target`; returns the name of its context there.

    With `switch` it becomes the current one. Raises `UsageError` for a file that cannot be understood, is not the
    user's, or has such an entry of somebody else's.
    """
    cluster, user = read_kubeconfig(directory / "kubeconfig")
    entry = f"usernetes-{name}"
    path, document = _read(target)
    foreign = [
        section for section in SECTIONS if _find(document, section, entry) and not _is_ours(document, entry, directory)
    ]
    if foreign:
        raise UsageError(
            f"{target} has an entry {entry} that is not of this cluster ({', '.join(foreign)})",
            remedy=f"kubectl config delete-context {entry}; kubectl config delete-cluster {entry}, then again",
        )
    _drop(document, entry)
    mark = [{"name": MARK, "extension": {"state": str(directory)}}]
    context = {"cluster": entry, "user": entry, "extensions": mark}
    for section, key, content in (
        ("clusters", "cluster", cluster),
        ("users", "user", user),
        ("contexts", "context", context),
    ):
        document[section] = [*(document.get(section) or []), {"name": entry, key: content}]
    if switch:
        document["current-context"] = entry
    # First what `down` goes by, then the file: a kill between the two leaves nothing that nobody takes out.
    _remember(directory, path)
    _write(path, document)
    return entry


def merged_into(directory: Path) -> list[Path]:
    """The files that the cluster of the state `directory` was merged into."""
    try:
        return [Path(text) for text in json.loads((directory / RECORD).read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return []


def merge_again(directory: Path, name: str) -> None:
    """Put a new kubeconfig where the one before was merged into. Raises as `merge`."""
    for target in merged_into(directory):
        merge(directory, name, target, switch=False)


def take_out(directory: Path, name: str) -> None:
    """Take the cluster's entries out of every file that it was merged into; fine when they are gone."""
    for target in merged_into(directory):
        with contextlib.suppress(Exception):  # whatever has become of that file, the cluster can be taken down
            path, document = _read(target)
            if _is_ours(document, f"usernetes-{name}", directory):
                _drop(document, f"usernetes-{name}")
                _write(path, document)


def _read(target: Path) -> tuple[Path, dict[str, Any]]:
    path = target.resolve()
    try:
        found = path.stat()
    except FileNotFoundError:
        return path, {"apiVersion": "v1", "kind": "Config"}
    if found.st_uid != os.getuid() or not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no file of yours", tried=f"merge into {target}", remedy=f"ls -l {target}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {"apiVersion": "v1", "kind": "Config"}
        good = isinstance(document, dict) and all(_are_entries(document.get(key)) for key in SECTIONS)
    except (yaml.YAMLError, UnicodeDecodeError):
        good = False
    if not good:
        raise UsageError(
            "it is no kubeconfig",
            tried=f"read {target}",
            remedy="export KUBECONFIG=$(usernetes kubeconfig) needs no merge",
        )
    return path, document


def _are_entries(section: Any) -> bool:
    return section is None or (isinstance(section, list) and all(isinstance(item, dict) for item in section))


def _find(document: Mapping[str, Any], section: str, name: str) -> dict[str, Any] | None:
    items = document.get(section) or []
    return next((item for item in items if isinstance(item, dict) and item.get("name") == name), None)


def _is_ours(document: Mapping[str, Any], entry: str, directory: Path) -> bool:
    """Whether an entry is of the cluster of this very state directory, not of another one that is called the same."""
    context = (_find(document, "contexts", entry) or {}).get("context") or {}
    mark = {"name": MARK, "extension": {"state": str(directory)}}
    return mark in (context.get("extensions") or ())


def _drop(document: dict[str, Any], entry: str) -> None:
    for section in SECTIONS:
        document[section] = [item for item in document.get(section) or [] if item.get("name") != entry]
    if document.get("current-context") == entry:
        document["current-context"] = ""


def _remember(directory: Path, path: Path) -> None:
    record = directory / RECORD
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    write_private(record, json.dumps(sorted({*known, str(path)})))


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, yaml.safe_dump(dict(document), sort_keys=False))
