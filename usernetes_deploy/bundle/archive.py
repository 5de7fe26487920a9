"""One file for sites without a network: a bundle as a tar.zst or tar.gz, manifest first, the same bytes every time."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from usernetes_deploy.bundle import stage, store
from usernetes_deploy.bundle.store import Bundle
from usernetes_deploy.errors import BundleError, UsageError


def pack(bundle: Bundle, out: Path) -> Path:
    """Verify `bundle` and write it to `out`, whose suffix says how: ``.tar.zst`` (needs zstd) or ``.tar.gz``.

    `out` appears when it is complete. Raises `BundleError` for a damaged bundle or a full disk.

    >>> pack(locate(None, None), Path("usernetes-bundle.tar.zst"))
    PosixPath('usernetes-bundle.tar.zst')
    """
    if not out.name.endswith((".tar.zst", ".tar.gz", ".tgz")):
        raise UsageError(f"{out} does not say which kind of archive: expected NAME.tar.zst or NAME.tar.gz")
    manifest = stage.verify(bundle.root)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with part.open("wb") as raw, _compressed(raw, out) as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
            for name in (stage.MANIFEST, *sorted(manifest.files)):
                with (bundle.root / name).open("rb") as content:
                    tar.addfile(_member(name, manifest, os.fstat(content.fileno()).st_size), content)
        part.replace(out)
    except OSError as error:
        full = f" ({shutil.disk_usage(out.parent).free >> 20} MiB free)" if error.errno == errno.ENOSPC else ""
        raise BundleError(f"cannot write {out}: {error.strerror}{full}") from error
    finally:
        part.unlink(missing_ok=True)
    return out


def unpack(archive: Path, cache: Path) -> Bundle:
    """Import a packed bundle into `cache` and make it the current one; every file is verified on the way.

    Raises `BundleError` for a damaged, truncated or foreign archive; the cache is unchanged then.
    """
    with store.locked(cache):
        return store.add(cache, stage.read_manifest(archive), lambda folder: stage.extract(archive, folder))


def _member(name: str, manifest: stage.Manifest, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = manifest.files[name].mode if name in manifest.files else 0o644
    return info


@contextlib.contextmanager
def _compressed(raw: IO[bytes], out: Path) -> Iterator[IO[bytes]]:
    if not out.name.endswith(".tar.zst"):
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as stream:
            yield stream  # type: ignore[misc]
        return
    try:
        process = subprocess.Popen(["zstd", "-q", "-6", "-T0", "-c"], stdin=subprocess.PIPE, stdout=raw)
    except FileNotFoundError:
        raise BundleError("the command zstd is missing", remedy="install zstd, or name the file .tar.gz") from None
    with process:
        assert process.stdin is not None  # noqa: S101 (for the type checker)
        yield process.stdin
    if process.returncode:
        raise OSError(errno.EIO, f"zstd ended with exit code {process.returncode}")
