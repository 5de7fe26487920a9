"""What is in a bundle: ``manifest.json`` names every file with its size, mode and hash, and is what the digest is of.

Nodes run this file, so it uses the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from usernetes_deploy.errors import BundleError

SCHEMA = 1
MANIFEST = "manifest.json"
CHUNK = 1 << 20
MAX_MANIFEST = 1 << 20
SAFE_PATH = re.compile(r"(bin|cni|images)/[A-Za-z0-9][A-Za-z0-9._+-]*")
HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
REMEDY = "usernetes bundle build, or usernetes bundle import FILE"


@dataclass(frozen=True)
class File:
    """What the manifest says of one file: its hash, its size in bytes, its permission bits."""

    sha256: str
    size: int
    mode: int


@dataclass(frozen=True)
class Manifest:
    """The parsed ``manifest.json``; its `digest` covers everything that the document says."""

    digest: str
    files: Mapping[str, File]
    document: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Manifest:
        """The manifest in a document as it is; `parse_manifest` is for one that came from outside."""
        files = {
            str(path): File(str(said["sha256"]), int(said["size"]), int(str(said["mode"]), 8))
            for path, said in document["files"].items()
        }
        return cls(str(document["digest"]), files, document)

    @property
    def name(self) -> str:
        """The folder's name: the start of the digest, so that the commands of a node stay short enough to read."""
        return self.digest[:16]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())


def digest_of(document: Mapping[str, Any]) -> str:
    """The sha256 of a manifest's content, its own ``digest`` left out."""
    content = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def describe(root: Path, **said: Any) -> dict[str, Any]:
    """The manifest document for the files that are in `root` now, with what else is `said` of them."""
    files = {}
    for path in sorted(root.glob("*/*")):
        mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
        path.chmod(mode)
        name = path.relative_to(root).as_posix()
        files[name] = {"sha256": sha256_of(path), "size": path.stat().st_size, "mode": f"{mode:04o}"}
    return sealed({"schema": SCHEMA, "files": files, **said})


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with its digest."""
    return {**document, "digest": digest_of(document)}


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Parse and check a manifest; raises `BundleError` for a damaged one or for a path that leads outside."""
    try:
        manifest = Manifest.of(json.loads(text))
        schema = manifest.document["schema"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{where} is not a bundle's manifest: {error!r}", remedy=REMEDY) from error
    if schema != SCHEMA:
        raise BundleError(f"{where} has schema {schema}, this version reads {SCHEMA}", remedy=REMEDY)
    for path, file in manifest.files.items():
        if not SAFE_PATH.fullmatch(path) or not HEX_DIGEST.fullmatch(file.sha256) or file.mode & ~0o755:
            raise BundleError(f"{where} names a file that no bundle has: {path!r}, mode {file.mode:o}")
    if manifest.digest != digest_of(manifest.document):
        raise BundleError(f"{where} is damaged: its digest does not fit its content", remedy=REMEDY)
    return manifest


def write_manifest(root: Path, document: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` in the form which the digest is taken of, one line a file for the reader."""
    (root / MANIFEST).write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")


def sha256_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as content:
        return hash_of(content)


def hash_of(content: IO[bytes]) -> str:
    """The sha256 of what is left of `content`."""
    sha256 = hashlib.sha256()
    while True:
        chunk = content.read(CHUNK)
        if not chunk:
            return sha256.hexdigest()
        sha256.update(chunk)
