"""Reads the archives of bundles, strictly: the manifest first, then exactly what it names.

Nodes run this file, so it uses the standard library alone.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from usernetes_deploy.bundle.contents import (
    CHUNK,
    MANIFEST,
    MAX_MANIFEST,
    REMEDY,
    Manifest,
    hash_of,
    parse_manifest,
    write_manifest,
)
from usernetes_deploy.errors import BundleError


def read_manifest(source: Path) -> Manifest:
    """The manifest of a bundle's folder or archive. Raises `BundleError` when there is none, or it is damaged."""
    if source.is_dir():
        try:
            return parse_manifest((source / MANIFEST).read_bytes(), str(source / MANIFEST))
        except OSError as error:
            raise BundleError(f"{source} is not a bundle: {MANIFEST}: {error.strerror}", remedy=REMEDY) from error
    with opened(source) as tar:
        return first_member(tar, source)


def extract(archive: Path, into: Path | None) -> Manifest:
    """Unpack a bundle's archive into the empty folder `into`, verifying each file on the way; None: verify it only.

    Only what the manifest (the first member) names is written: a member with another name, type or size is refused.
    Raises `BundleError` for a damaged, truncated or foreign archive.
    """
    with opened(archive) as tar:
        manifest = first_member(tar, archive)
        missing = dict(manifest.files)
        while True:
            member = tar.next()  # not `for`, which would begin again with the manifest
            if member is None:
                break
            if member.isdir() and member.name in ("bin", "cni", "images"):
                continue
            file = missing.pop(member.name, None)
            content = tar.extractfile(member) if member.isreg() else None
            if file is None or content is None or member.size != file.size:
                raise BundleError(f"{archive} refused: its member {member.name!r} is not what the manifest names")
            if into is None:
                sha256 = hash_of(content)
            else:
                (into / member.name).parent.mkdir(mode=0o755, exist_ok=True)
                sha256 = copy_of(content, into / member.name, file.mode)
            if sha256 != file.sha256:
                raise BundleError(f"{archive} is damaged: the sha256 of {member.name} is wrong", remedy=REMEDY)
        if missing:
            raise BundleError(f"{archive} is truncated: it lacks {', '.join(sorted(missing))}", remedy=REMEDY)
    if into is not None:
        write_manifest(into, manifest.document)
    return manifest


def copy_of(content: IO[bytes], path: Path, mode: int) -> str:
    """Write `content` to a new file; returns its sha256."""
    sha256 = hashlib.sha256()
    with path.open("xb") as out:
        while True:
            chunk = content.read(CHUNK)
            if not chunk:
                break
            sha256.update(chunk)
            out.write(chunk)
    path.chmod(mode)
    return sha256.hexdigest()


def first_member(tar: tarfile.TarFile, archive: Path) -> Manifest:
    """The manifest, with which an archive begins."""
    member = tar.next()
    content = tar.extractfile(member) if member and member.name == MANIFEST and member.isreg() else None
    if member is None or content is None or member.size > MAX_MANIFEST:
        raise BundleError(f"{archive} is not a bundle's archive: it does not begin with {MANIFEST}", remedy=REMEDY)
    return parse_manifest(content.read(), f"{MANIFEST} in {archive}")


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """`archive` as a stream of members; every way in which it can be broken is a `BundleError`."""
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(archive.open("rb", buffering=0))  # zstd reads on where we stop
            magic = raw.read(4)
            raw.seek(0)
            if magic[:2] == b"\x1f\x8b":
                yield stack.enter_context(tarfile.open(fileobj=gzip.GzipFile(fileobj=raw), mode="r|"))
            elif magic == b"\x28\xb5\x2f\xfd":
                yield stack.enter_context(tarfile.open(fileobj=stack.enter_context(_unzstd(raw, archive)), mode="r|"))
            else:
                raise BundleError(f"{archive} is neither a .tar.zst nor a .tar.gz archive", remedy=REMEDY)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BundleError(f"{archive} is damaged: {error}", remedy=REMEDY) from error
    except FileNotFoundError as error:
        raise BundleError(f"{error.filename}: {error.strerror}", remedy=REMEDY) from error


@contextlib.contextmanager
def _unzstd(raw: IO[bytes], archive: Path) -> Iterator[IO[bytes]]:
    try:
        process = subprocess.Popen(["zstd", "-dcq"], stdin=raw, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        remedy = "install zstd there, or pack the bundle as .tar.gz"
        raise BundleError(f"{archive} needs the command zstd, which is not on this host", remedy=remedy) from None
    with process:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 (for the type checker)
        try:
            yield process.stdout
        finally:
            process.stdout.close()
            complaint = process.stderr.read().decode(errors="replace").strip()
            process.wait()
    if process.returncode > 0:
        raise BundleError(f"{archive} is damaged: {complaint}", remedy=REMEDY)
