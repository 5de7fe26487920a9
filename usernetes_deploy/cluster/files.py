"""Files of one user alone: written whole or not at all, and the kubeconfig that usernetes itself wrote."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from usernetes_deploy.errors import UsernetesError


class Kubeconfig(NamedTuple):
    """The one cluster and the one user of a kubeconfig that usernetes wrote, as kubectl knows them."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]


def read_kubeconfig(path: Path) -> Kubeconfig:
    """Read a kubeconfig that usernetes wrote (JSON). Raises `UsernetesError` when it cannot be used."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Kubeconfig(document["clusters"][0]["cluster"], document["users"][0]["user"])
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"read {path}") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UsernetesError(f"not as usernetes wrote it: {error!r}", tried=f"read {path}") from error


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file under its name only when it is whole and on the disk; raises `OSError`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # the name must not reach the disk before the content
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder written to the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
