"""Puts a verified bundle on node-local disk: all of it or nothing, once a node, at no cost when it is there already.

A bundle is a folder (``bin/ cni/ images/ manifest.json``) or the archive that ``usernetes bundle pack`` makes of one.
Nodes run this file, so it uses the standard library alone. A staged file is hashed once; afterwards its size, time and
inode are compared with a stamp, which is void after a reboot because a crash may lose written data.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from usernetes_deploy.errors import BundleError
from usernetes_deploy.paths import who_else_writes

SCHEMA = 1
MANIFEST = "manifest.json"
STAMP = ".verified"
CHUNK = 1 << 20
MAX_MANIFEST = 1 << 20
LOCK_PATIENCE = 600.0
FICLONE = 0x40049409
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
        files[name] = {"sha256": _sha256(path), "size": path.stat().st_size, "mode": f"{mode:04o}"}
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


def read_manifest(source: Path) -> Manifest:
    """The manifest of a bundle's folder or archive. Raises `BundleError` when there is none, or it is damaged."""
    if source.is_dir():
        try:
            return parse_manifest((source / MANIFEST).read_bytes(), str(source / MANIFEST))
        except OSError as error:
            raise BundleError(f"{source} is not a bundle: {MANIFEST}: {error.strerror}", remedy=REMEDY) from error
    with _opened(source) as tar:
        return _first_member(tar, source)


def stage(source: Path, parent: Path) -> Path:
    """Make sure that the bundle `source` is under `parent`, verified; return its folder ``parent/<name>``.

    Safe to call many times at once: one call works, the others wait and find its result. Files are shared with
    `source` where the file system can (reflink, then hard link), else copied. Raises `BundleError` when a file is
    damaged or the disk is full; nothing is left behind then.

    >>> bundle = Path("~/.cache/usernetes/bundles/3f2a97c04e1d5b88").expanduser()
    >>> stage(bundle, Path("/var/tmp/usernetes-1000/bundle"))  # doctest: +SKIP
    PosixPath('/var/tmp/usernetes-1000/bundle/3f2a97c04e1d5b88')
    """
    manifest = read_manifest(source)
    target = parent / manifest.name
    if is_fresh(target, manifest):
        check_place(target)
        return target
    with locked(parent):
        if is_fresh(target, manifest):
            return target
        if target.is_dir() and not problems(target, manifest):
            stamp(target, manifest)
            return target
        with placing(target) as fresh:
            if source.is_dir():
                _place_folder(source, fresh, manifest)
            else:
                extract(source, fresh)
            stamp(fresh, manifest)
    return target


def verify(root: Path, *, again: bool = False) -> Manifest:
    """Hash every file of the bundle in `root`, unless that was done since boot and nothing was touched.

    `again` hashes in any case. Raises `BundleError` that lists all that is wrong.
    """
    manifest = read_manifest(root)
    if not again and is_fresh(root, manifest):
        return manifest
    wrong = problems(root, manifest)
    if wrong:
        raise BundleError(f"the bundle in {root} is damaged:" + "".join(f"\n  {line}" for line in wrong), remedy=REMEDY)
    with contextlib.suppress(OSError):  # somebody else's bundle can be read, but not marked
        stamp(root, manifest)
    return manifest


def problems(root: Path, manifest: Manifest) -> list[str]:
    """Every difference between `root` and `manifest`, a line each; the empty list is a sound bundle."""
    with ThreadPoolExecutor(max_workers=_workers()) as pool:
        found = pool.map(lambda item: _problem(root / item[0], item[1]), manifest.files.items())
        wrong = [f"{path}: {what}" for path, what in zip(manifest.files, found) if what]
    present = {path.relative_to(root).as_posix() for path in root.glob("*/*")}
    return wrong + [f"{path}: not in the manifest" for path in sorted(present - set(manifest.files))]


def is_fresh(root: Path, manifest: Manifest) -> bool:
    """Whether `root` was verified since boot and has not been touched since; only looks at file attributes."""
    try:
        said = json.loads((root / STAMP).read_text())
        return bool(said == _attributes(root, manifest))
    except (OSError, ValueError):
        return False


def stamp(root: Path, manifest: Manifest) -> None:
    """Write down that every file of `root` has just been verified."""
    (root / STAMP).write_text(json.dumps(_attributes(root, manifest)))


def extract(archive: Path, into: Path | None) -> Manifest:
    """Unpack a bundle's archive into the empty folder `into`, verifying each file on the way; None: verify it only.

    Only what the manifest (the first member) names is written: a member with another name, type or size is refused.
    Raises `BundleError` for a damaged, truncated or foreign archive.
    """
    with _opened(archive) as tar:
        manifest = _first_member(tar, archive)
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
                sha256 = _hash(content)
            else:
                (into / member.name).parent.mkdir(mode=0o755, exist_ok=True)
                sha256 = _copy(content, into / member.name, file.mode)
            if sha256 != file.sha256:
                raise BundleError(f"{archive} is damaged: the sha256 of {member.name} is wrong", remedy=REMEDY)
        if missing:
            raise BundleError(f"{archive} is truncated: it lacks {', '.join(sorted(missing))}", remedy=REMEDY)
    if into is not None:
        write_manifest(into, manifest.document)
    return manifest


def write_manifest(root: Path, document: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` in the form which the digest is taken of, one line a file for the reader."""
    (root / MANIFEST).write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")


def prune(parent: Path, keep: Set[str] = frozenset()) -> list[str]:
    """Remove the staged bundles under `parent` except those named in `keep` and those that a process runs from.

    Returns the names of what was removed.
    """
    gone = []
    with locked(parent):
        kept = keep | in_use(parent)
        for root in sorted(parent.iterdir()):
            if root.is_dir() and (root / MANIFEST).exists() and root.name not in kept:
                shutil.rmtree(root)
                gone.append(root.name)
    return gone


@contextlib.contextmanager
def locked(parent: Path, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Hold `parent` (made if missing) for this process; what a killed predecessor left half done is removed.

    Waits up to `patience` seconds. Raises `BundleError` when another user could exchange what is put there.
    """
    try:
        make_folder(parent)
        check_place(parent)
        lock = (parent / ".lock").open("a+")
    except OSError as error:
        raise BundleError(f"cannot stage to {parent}: {error.strerror}", remedy="choose another folder") from error
    with lock:
        ends = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    lock.seek(0)
                    holder = lock.read().strip() or "unknown"
                    raise BundleError(f"{parent} is in use by pid {holder} for {patience:g} s") from None
                time.sleep(0.05)
        with contextlib.suppress(OSError):  # a full disk; the pid only serves the message above
            os.truncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        for stale in parent.glob(".placing-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


@contextlib.contextmanager
def placing(target: Path) -> Iterator[Path]:
    """A new folder that becomes `target` at the end, or leaves no trace when the body fails."""
    fresh = None
    try:
        fresh = Path(tempfile.mkdtemp(prefix=".placing-", dir=target.parent))
        fresh.chmod(0o755)
        yield fresh
        _open_to_read(fresh)
        if target.is_symlink() or target.exists():
            old = Path(tempfile.mkdtemp(prefix=".placing-", dir=target.parent))
            target.rename(old / "old")
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            if fresh is not None:
                shutil.rmtree(fresh, ignore_errors=True)
            free = shutil.disk_usage(target.parent).free >> 20
            reason = f"no space left for the bundle in {target.parent} ({free} MiB free)"
            remedy = "make room there (usernetes bundle gc), or choose another folder"
            raise BundleError(reason, tried=_named(error), remedy=remedy) from error
        raise BundleError(f"{error.filename or target}: {error.strerror}", tried=_named(error)) from error
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)


def _open_to_read(root: Path) -> None:
    """Let everybody read a bundle, whatever the umask: an administrator may have made it for all users."""
    for path in root.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)


def share(source: Path, target: Path, file: File) -> None:
    """Give `target` the content of `source` (reflink, hard link, or copy), and verify it against `file`."""
    target.parent.mkdir(mode=0o755, exist_ok=True)
    if _reflink(source, target) or _hard_link(source, target, file):
        target.chmod(file.mode)
        sha256 = _sha256(target)
    else:
        with source.open("rb") as content:
            sha256 = _copy(content, target, file.mode)
    if sha256 != file.sha256:
        raise BundleError(f"{source} is damaged: its sha256 is {sha256}, not {file.sha256}", remedy=REMEDY)


def _place_folder(source: Path, into: Path, manifest: Manifest) -> None:
    for path, file in manifest.files.items():
        try:
            size = (source / path).stat().st_size
        except OSError as error:
            raise BundleError(f"{source / path}: {error.strerror}", remedy=REMEDY) from error
        if size != file.size:
            raise BundleError(f"{source / path} is damaged: {size} bytes, not {file.size}", remedy=REMEDY)
    with ThreadPoolExecutor(max_workers=_workers()) as pool:
        placed = [pool.submit(share, source / path, into / path, file) for path, file in manifest.files.items()]
        for future in placed:
            future.result()
    write_manifest(into, manifest.document)


def _problem(path: Path, file: File) -> str:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_size != file.size:
            return f"{status.st_size} bytes, not {file.size}"
        if stat.S_IMODE(status.st_mode) != file.mode:
            return f"mode {stat.S_IMODE(status.st_mode):04o}, not {file.mode:04o}"
        sha256 = _sha256(path)
    except OSError as error:
        return str(error.strerror)
    return "" if sha256 == file.sha256 else f"sha256 {sha256}, not {file.sha256}"


def _attributes(root: Path, manifest: Manifest) -> dict[str, Any]:
    files = {}
    for path, file in manifest.files.items():
        status = (root / path).lstat()
        if status.st_size != file.size or stat.S_IMODE(status.st_mode) != file.mode:
            raise FileNotFoundError(path)
        files[path] = [status.st_size, status.st_mtime_ns, status.st_ino]
    return {"digest": manifest.digest, "boot": _boot_id(), "files": files}


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def in_use(parent: Path) -> set[str]:
    """The names under `parent` from which a process of this host runs; those that may not be looked at are left out."""
    parent, names = parent.resolve(), set()
    for entry in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            program = entry.readlink()
            if parent in program.parents:
                names.add(program.relative_to(parent).parts[0])
    return names


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it: everybody may read, none but the user write, whatever the umask."""
    before = os.umask(0o022)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    finally:
        os.umask(before)


def check_place(folder: Path) -> None:
    """Raise `BundleError` when somebody else could exchange what lies in `folder`: in it, or anywhere above."""
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())  # how root looks from inside a user namespace
    for path in (folder.absolute(), *folder.absolute().parents):
        status = path.stat()
        why = ""
        if status.st_uid not in (os.geteuid(), 0, overflow):
            why = f"it belongs to uid {status.st_uid}"
        elif not status.st_mode & stat.S_ISVTX and (writer := who_else_writes(status)):
            why = f"{writer} can write there"
        if why:
            remedy = "choose a folder that only you can write to"
            if status.st_uid == os.geteuid():
                remedy = f"chmod go-w {path}, or {remedy}"
            raise BundleError(f"{path} is no safe place for binaries: {why}", remedy=remedy)


def _reflink(source: Path, target: Path) -> bool:
    try:
        with source.open("rb") as old, target.open("xb") as new:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        return True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        target.unlink(missing_ok=True)
        return False


def _hard_link(source: Path, target: Path, file: File) -> bool:
    status = source.lstat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != file.mode or not stat.S_ISREG(status.st_mode):
        return False
    try:
        os.link(source, target)
        return True
    except OSError:
        return False


def _copy(content: IO[bytes], path: Path, mode: int) -> str:
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


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return _hash(content)


def _hash(content: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    while True:
        chunk = content.read(CHUNK)
        if not chunk:
            return sha256.hexdigest()
        sha256.update(chunk)


def _workers() -> int:
    return min(4, len(os.sched_getaffinity(0)))


def _named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _first_member(tar: tarfile.TarFile, archive: Path) -> Manifest:
    member = tar.next()
    content = tar.extractfile(member) if member and member.name == MANIFEST and member.isreg() else None
    if member is None or content is None or member.size > MAX_MANIFEST:
        raise BundleError(f"{archive} is not a bundle's archive: it does not begin with {MANIFEST}", remedy=REMEDY)
    return parse_manifest(content.read(), f"{MANIFEST} in {archive}")


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
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
