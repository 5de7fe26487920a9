"""The site's policies: a file of root's, which holds for every cluster that is made on this host.

A spec adds to it and takes nothing away: policies of both hold side by side, so that none can weaken another.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from usernetes_deploy import schema
from usernetes_deploy.access.policies.document import Policy, Source, mistakes, parse
from usernetes_deploy.errors import SpecError, UsageError, UsernetesError

if TYPE_CHECKING:
    from usernetes_deploy.cluster.state import ClusterState

SITE = Path("/etc/usernetes/policy.yaml")  # nothing of a user's says where it is: no flag, no variable
API_VERSION = "usernetes.dev/v1alpha1"
KIND = "Policies"
ROOT = 0


def in_force(policies: Sequence[Any], file: Path = SITE) -> list[Policy]:
    """The policies of the site and those of a spec. Raises `UsernetesError` where the site's cannot be relied on."""
    return [*site_policies(file), *parse(list(policies), "spec")]


def of_cluster(state: ClusterState) -> list[Policy]:
    """The policies that are in force for a cluster: the site's of now, and those of its spec. Raises as `in_force`."""
    return in_force(state.read()["spec"].get("policies", ()))


def site_policies(file: Path = SITE, owner: int = ROOT) -> list[Policy]:
    """The site's policies; none where there is no such file.

    Raises `UsernetesError` for a file that somebody else than root could have written: what it says is then nobody's
    word, and going on without it would be a way around it.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsernetesError(
            f"{error.strerror}: {file}", tried="read the site's policies", remedy=f"sudo chmod 0644 {file}"
        ) from error
    with os.fdopen(descriptor, encoding="utf-8") as stream:
        for path, found in ((file, os.fstat(descriptor)), (file.parent, file.parent.stat())):
            _refuse_untrusted(path, found, owner)
        try:
            text = stream.read()
        except UnicodeDecodeError as error:
            raise UsageError(f"not text: {error}", tried=f"read {file}") from error
    return read(text, str(file), "site")


def read(text: str, name: str, source: Source) -> list[Policy]:
    """The policies of a file's text (kind Policies). Raises `SpecError` with all that is wrong."""
    document = document_of(text, name)
    problems = [
        (key, f"expected {wanted}, got {document.get(key)!r}")
        for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND))
        if document.get(key) != wanted
    ]
    unknown = [key for key in document if key not in ("apiVersion", "kind", "policies")]
    problems += [(str(key), "unknown field; the fields here are apiVersion, kind, policies") for key in unknown]
    items = document.get("policies", [])
    problems += mistakes(items)
    if problems:
        raise SpecError(problems, name)
    return parse(items, source)


def document_of(text: str, name: str) -> Mapping[str, Any]:
    """A YAML mapping. Raises `UsageError`."""
    try:
        document = schema.parse_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML: {' '.join(str(error).split())}", tried=f"read {name}") from error
    if not isinstance(document, dict):
        raise UsageError("expected a mapping of fields at the top", tried=f"read {name}")
    return document


def _refuse_untrusted(path: Path, found: os.stat_result, owner: int) -> None:
    if found.st_uid != owner or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsernetesError(
            f"{path} could have been written by others than root "
            f"(owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})",
            tried="read the site's policies",
            remedy=f"sudo chown root:root {path} && sudo chmod go-w {path}",
        )
