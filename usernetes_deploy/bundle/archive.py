"""One file for sites without a network: a bundle as a tar.zst or tar.gz, manifest first, the same bytes every time."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import shutil
import subprocess
import tarfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from usernetes_deploy.bundle import contents, stage, store, unpacking
from usernetes_deploy.bundle.store import Bundle
from usernetes_deploy.errors import BundleError, UsageError

BLOCK = 4 << 20
GZIP_LEVEL = 4


def pack(bundle: Bundle, out: Path) -> Path:
    """Verify `bundle` and write it to `out`, whose suffix says how: ``.tar.zst`` (needs zstd) or ``.tar.gz``.

    `out` appears when it is complete. Raises `BundleError` for a damaged bundle or a full disk.

    >>> pack(locate(None, None), Path("usernetes-bundle.tar.zst"))  # doctest: +SKIP
    PosixPath('usernetes-bundle.tar.zst')
    """
    if not out.name.endswith((".tar.zst", ".tar.gz", ".tgz")):
        raise UsageError(f"{out} does not say which kind of archive: expected NAME.tar.zst or NAME.tar.gz")
    manifest = stage.verify(bundle.root)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with part.open("wb") as raw, _compressed(raw, out) as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
            for name in (contents.MANIFEST, *sorted(manifest.files)):
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
    """Import a packed bundle into `cache` and make it the current one; every file is verified, also when it is there.

    Raises `BundleError` for a damaged, truncated or foreign archive; the cache is unchanged then.
    """
    manifest = unpacking.read_manifest(archive)  # before the cache is touched: a foreign archive changes nothing
    with store.locked(cache):
        if stage.is_fresh(cache / "bundles" / manifest.name, manifest):
            unpacking.extract(archive, None)
        return store.add(cache, manifest, lambda folder: unpacking.extract(archive, folder))


class ParallelGzip(io.RawIOBase):
    """Writes gzip on all cores: blocks become gzip members of their own, which readers see as one stream."""

    def __init__(self, raw: IO[bytes]):
        self._raw = raw
        self._pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
        self._pending: deque[Future[bytes]] = deque()
        self._block = bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Take `data`; whole blocks go to the compressing threads."""
        self._block += data
        while len(self._block) >= BLOCK:
            self._submit(bytes(self._block[:BLOCK]))
            del self._block[:BLOCK]
        return len(data)

    def close(self) -> None:
        """Write what is left."""
        if not self.closed:
            try:
                self._submit(bytes(self._block))
                while self._pending:
                    self._raw.write(self._pending.popleft().result())
            finally:
                self._pool.shutdown(cancel_futures=True)
                super().close()

    def _submit(self, block: bytes) -> None:
        self._pending.append(self._pool.submit(gzip.compress, block, GZIP_LEVEL, mtime=0))
        while len(self._pending) > 2 * len(os.sched_getaffinity(0)):
            self._raw.write(self._pending.popleft().result())


def _member(name: str, manifest: contents.Manifest, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = manifest.files[name].mode if name in manifest.files else 0o644
    return info


@contextlib.contextmanager
def _compressed(raw: IO[bytes], out: Path) -> Iterator[Any]:
    if not out.name.endswith(".tar.zst"):
        with ParallelGzip(raw) as stream:
            yield stream
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
