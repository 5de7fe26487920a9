"""The cache of bundles: where they are, which one is current, and what may go.

::

    $XDG_CACHE_HOME/usernetes/
        bundles/<name>/          a bundle: bin/ cni/ images/ manifest.json; <name> is the start of its digest
        bundles/current          symbolic link to the one that `locate` finds
        built/<component>-<key>  one component, as built or unpacked from a release archive
        downloads/<sha256>       release archives
        lock                     held while something is made or removed; names who holds it
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usernetes_deploy.bundle import contents, stage, unpacking
from usernetes_deploy.bundle.contents import Manifest
from usernetes_deploy.errors import BundleError

REMEDY = "usernetes bundle build"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, its manifest read and its files present (`stage.verify` hashes them)."""

    root: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """The sha256 that covers the whole bundle, as hexadecimal text."""
        return self.manifest.digest

    @property
    def components(self) -> list[Mapping[str, Any]]:
        """What it is made of: name, version, module, licence, where each came from."""
        return list(self.manifest.document["components"])

    @property
    def versions(self) -> dict[str, str]:
        """Version by component.

        >>> locate(None, None).versions["kubernetes"]  # doctest: +SKIP
        'v1.36.3'
        """
        return {str(component["name"]): str(component["version"]) for component in self.components}

    @property
    def images(self) -> dict[str, Path]:
        """The archive of each image, by the image's full name."""
        return {str(name): self.root / path for name, path in self.manifest.document["images"].items()}

    def image(self, short: str) -> tuple[str, Path]:
        """The full name of an image and its archive, by the short name: ``pause`` or ``busybox``.

        >>> locate(None, None).image("pause")  # doctest: +SKIP
        ('localhost/usernetes/pause:3.10.2', PosixPath('/home/me/.../images/pause.tar'))
        """
        for name, path in self.images.items():
            if path.name == f"{short}.tar":
                return name, path
        raise BundleError(f"the bundle {self.manifest.name} has no image {short}", remedy=REMEDY)

    def binary(self, name: str) -> Path:
        """The path of a command or CNI plugin. Raises `BundleError` when this bundle was made without it.

        >>> locate(None, None).binary("kubectl")  # doctest: +SKIP
        PosixPath('/home/me/.cache/usernetes/bundles/3f2a97c04e1d5b88/bin/kubectl')
        """
        for folder in ("bin", "cni"):
            if f"{folder}/{name}" in self.manifest.files:
                return self.root / folder / name
        raise BundleError(f"the bundle {self.manifest.name} has no {name}", remedy=f"{REMEDY} --with ...")


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_CACHE_HOME/usernetes``, or below ``~/.cache`` as the XDG rules say."""
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "usernetes"


def locate(path: Path | None = None, cache: Path | None = None) -> Bundle:
    """The bundle in the folder `path`, or else the current one of `cache` (default: `default_cache`).

    Raises `BundleError`, with the command that makes one, when there is none or when it is visibly damaged; contents
    are verified where the bundle is staged.
    """
    cache = cache or default_cache()
    try:
        if path is None and not (cache / "bundles" / "current").is_symlink():
            raise BundleError(f"there is no bundle in {cache}", remedy=contents.REMEDY)
        root = (path.expanduser() if path else cache / "bundles" / "current").resolve()
        if root.is_file():
            raise BundleError(f"{root} is a file, not a bundle's folder", remedy=f"usernetes bundle import {root}")
        if not root.is_dir():
            raise BundleError(f"there is no bundle at {root}", remedy=contents.REMEDY)
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}", remedy=contents.REMEDY) from error
    manifest = unpacking.read_manifest(root)
    missing = [name for name, file in manifest.files.items() if not _has_size(root / name, file.size)]
    if missing:
        raise BundleError(f"the bundle in {root} is damaged: {', '.join(missing)}", remedy=contents.REMEDY)
    return Bundle(root, manifest)


def bundles(cache: Path) -> list[Bundle]:
    """The bundles of `cache` that can be read, the current one first."""
    current = (cache / "bundles" / "current").resolve()
    found = []
    for root in sorted(path for path in (cache / "bundles").glob("*") if path.is_dir() and not path.is_symlink()):
        with contextlib.suppress(BundleError):
            found.append(Bundle(root, unpacking.read_manifest(root)))
    return sorted(found, key=lambda bundle: bundle.root != current)


def add(cache: Path, manifest: Manifest, fill: Callable[[Path], object]) -> Bundle:
    """Put a bundle in `cache` and make it the current one; a sound one with the same digest is kept as it is.

    ``fill(folder)`` writes the files and the manifest, and verifies them. Hold `locked` while calling.
    """
    target = cache / "bundles" / manifest.name
    put(target, manifest, fill)
    _point(target.with_name("current"), manifest.name)
    return Bundle(target, manifest)


def put(target: Path, manifest: Manifest, fill: Callable[[Path], object]) -> None:
    """Make `target` the folder that `manifest` describes: at no cost when it is, atomically when it is not."""
    if stage.is_fresh(target, manifest):
        return
    if target.is_dir() and not stage.problems(target, manifest):
        stage.stamp(target, manifest)
        return
    stage.make_folder(target.parent)
    with stage.placing(target) as fresh:
        fill(fresh)
        stage.stamp(fresh, manifest)


def collect_garbage(cache: Path, keep: Collection[str] = ()) -> list[tuple[str, int]]:
    """Remove all but the current bundle, its built components, and bundles that a process runs from.

    Bundles whose names are in `keep` stay as well: those of stopped clusters, which no process runs from.

    Hold `locked` while calling. Returns (name, bytes) of what went; bytes that a hard link shares with something kept
    are counted, though not freed.
    """
    current = (cache / "bundles" / "current").resolve()
    kept = unpacking.read_manifest(current).files if current.is_dir() else {}
    kept_names = {"current", current.name, *stage.in_use(cache / "bundles"), *keep}
    doomed = [path for path in (cache / "bundles").glob("*") if path.name not in kept_names]
    doomed += list((cache / "downloads").glob("*"))
    for built in (cache / "built").glob("*"):
        try:
            needed = all(kept.get(path) == file for path, file in unpacking.read_manifest(built).files.items())
        except BundleError:
            needed = False
        doomed += [] if needed else [built]
    gone = []
    for path in sorted(doomed):
        gone.append((str(path.relative_to(cache)), usage(path)))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return gone


def usage(path: Path) -> int:
    """Bytes of the regular files at and below `path`."""
    if path.is_file():
        return path.stat().st_size
    return sum(found.lstat().st_size for found in path.rglob("*") if found.is_file() and not found.is_symlink())


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Hold the cache for this process.

    Raises `BundleError`: another process works in it (and is named), or it cannot be written to, then or in the body.
    """
    elsewhere = "choose another folder with --cache DIR"
    try:
        stage.make_folder(cache)
        with (cache / "lock").open("a+") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                raise BundleError(
                    f"the cache {cache} is in use by {holder}", remedy=f"wait for it, or {elsewhere}"
                ) from error
            with contextlib.suppress(OSError):  # a full disk; it only serves the message above
                os.truncate(lock.fileno(), 0)
                os.write(lock.fileno(), f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
            yield
    except OSError as error:
        what = error.strerror or str(error)
        raise BundleError(f"cannot write to the cache {cache}: {what}", remedy=elsewhere) from error


def _point(link: Path, name: str) -> None:
    new = link.with_name(f".current-{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    new.replace(link)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
