"""Puts a verified bundle on node-local disk: all of it or nothing, once a node, at no cost when it is there already.

A bundle is a folder (``bin/ cni/ images/ manifest.json``) or the archive that ``usernetes bundle pack`` makes of one.
Nodes run this file, so it uses the standard library alone. A staged file is hashed once; afterwards its size, time and
inode are compared with a stamp, which is void after a reboot because a crash may lose written data.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from usernetes_deploy.bundle.contents import MANIFEST, REMEDY, File, Manifest, sha256_of, write_manifest
from usernetes_deploy.bundle.unpacking import copy_of, extract, read_manifest
from usernetes_deploy.errors import BundleError
from usernetes_deploy.paths import who_else_writes

STAMP = ".verified"
LOCK_PATIENCE = 600.0
FICLONE = 0x40049409


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


def sizes(parent: Path) -> dict[str, int]:
    """The bundles under `parent` and the bytes of each: name -> bytes."""
    return {
        root.name: sum(path.stat().st_size for path in root.glob("*/*"))
        for root in parent.iterdir()
        if root.is_dir() and (root / MANIFEST).exists()
    }


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
        sha256 = sha256_of(target)
    else:
        with source.open("rb") as content:
            sha256 = copy_of(content, target, file.mode)
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
        sha256 = sha256_of(path)
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


def _workers() -> int:
    return min(4, len(os.sched_getaffinity(0)))


def _named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
