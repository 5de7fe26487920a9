"""The archive of a saved cluster: what is in it, and how it is written and read, whole or not at all.

Sealed (see `sealing`), it is a tar whose first member says what it is and whose last has the SHA-256 of all others.
Volumes are not compressed: it would take ten times as long, and large data is mostly such that hardly gets smaller::

    manifest.json       format, cluster, when and by which version, spec, images, volumes
    identities.json     authorities, service-account keys, the key that Secrets are encrypted with
    objects.jsonl.gz    the store's objects, as etcd has them
    documents.json      pods and volumes of the same revision as the API shows them: what resuming changes
    volumes/NAME.tar    the data of a volume, with the owners that its pods see
    end.json            digests
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from usernetes_deploy.cluster.files import sync_folder
from usernetes_deploy.cluster.sealing import Opened, Sealer
from usernetes_deploy.errors import Secret, UsageError, UsernetesError

FORMAT = 1
BLOCK = 1 << 20
SUFFIX = ".usernetes"
MANIFEST, IDENTITIES, OBJECTS, DOCUMENTS, END = (
    "manifest.json", "identities.json", "objects.jsonl.gz", "documents.json", "end.json"
)  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """A volume on a node's disk. `file` is its data's member in the archive, "" where it was not to be saved."""

    name: str  # of the PersistentVolume
    claim: str  # NAMESPACE/NAME
    node: str
    folder: str  # its name below the nodes' folder of volumes
    file: str = ""
    size: int = 0  # bytes, of the tar


@dataclass(frozen=True)
class Manifest:
    """What an archive is of. `server` is the API's address that kubeconfigs of users have."""

    cluster: str
    id: str
    created: str  # ISO 8601, UTC: the save
    version: str
    revision: int  # etcd's, of all objects
    objects: int
    server: str
    nodes: tuple[str, ...]
    images: tuple[str, ...]
    volumes: tuple[Volume, ...]
    spec: Mapping[str, Any]

    @property
    def port(self) -> int:
        """The API's port."""
        return int(self.server.rpartition(":")[2])

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, document: Mapping[str, Any], name: str | Path) -> Manifest:
        """The inverse of `document`; raises `UsageError` for one of another format, or that is not complete."""
        if document.get("format") != FORMAT:
            raise UsageError(
                f"{name} has format {document.get('format')}, this version reads {FORMAT}",
                remedy="resume it with the version that wrote it",
            )
        try:
            fields = {key: value for key, value in document.items() if key != "format"}
            volumes = tuple(Volume(**entry) for entry in fields.pop("volumes"))
            nodes, images = tuple(fields.pop("nodes")), tuple(fields.pop("images"))
            return cls(**fields, nodes=nodes, images=images, volumes=volumes)
        except (KeyError, TypeError) as error:
            raise UsageError(f"{name} does not say all of what it is: {error}") from error


@dataclass(frozen=True)
class Saved:
    """An archive that was read: its parts are files in `folder` (0700), named as its members."""

    manifest: Manifest
    identities: Secret
    folder: Path

    @property
    def objects(self) -> Path:
        """The store's objects."""
        return self.folder / OBJECTS

    def documents(self) -> dict[str, Any]:
        """``{"pods": [...], "volumes": [...]}``."""
        return dict(json.loads((self.folder / DOCUMENTS).read_text(encoding="utf-8")))


class Writer:
    """Writes one archive: under its name in one move when it is whole, on the disk, and was read back.

    Raises `UsernetesError` when it cannot be written; then the archive that was there before is there still.
    """

    def __init__(self, target: Path, key: Secret) -> None:
        self._target, self._key = target, key
        self._draft = target.with_name(f".{target.name}.{os.getpid()}")
        self._digests: dict[str, str] = {}

    def write(self, manifest: Manifest, identities: Secret, parts: Mapping[str, Path | bytes]) -> int:
        """Write all of it; returns the archive's size in bytes."""
        try:
            self._draft.unlink(missing_ok=True)
            descriptor = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w+b") as file:
                with (
                    Sealer(file, self._key) as sealer,
                    tarfile.open(fileobj=cast("BinaryIO", sealer), mode="w|", bufsize=BLOCK) as tar,
                ):
                    vars(tar)["copybufsize"] = BLOCK  # of tarfile's constructor, where its types do not know it
                    self._add(tar, MANIFEST, json.dumps(manifest.document()).encode())
                    self._add(tar, IDENTITIES, identities.reveal().encode())
                    for name, content in parts.items():
                        self._add(tar, name, content)
                    self._add(tar, END, json.dumps(self._digests).encode())
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                verify(file, self._key, self._target)
                size = os.fstat(file.fileno()).st_size
            self._draft.replace(self._target)
            sync_folder(self._target.parent)
        except OSError as error:
            raise UsernetesError(error.strerror or str(error), tried=f"write {self._target}") from error
        finally:
            self._draft.unlink(missing_ok=True)
        return size

    def _add(self, tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
        info = tarfile.TarInfo(name)
        info.mode = 0o600
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
            info.size = source.seek(0, os.SEEK_END)
            source.seek(0)
            digest = _Digest(source)
            tar.addfile(info, cast("BinaryIO", digest))
        self._digests[name] = digest.sha.hexdigest()


class _Digest:
    """A file that is being read, and the SHA-256 of what was read so far."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.sha = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(size)
        self.sha.update(data)
        return data


def verify(file: BinaryIO, key: Secret, name: str | Path) -> None:
    """Read an archive to its end; raises `UsageError` that says what is wrong with it."""
    _walk(file, key, name, None)


def read(path: Path, key: Secret, folder: Path) -> Saved:
    """Read an archive into `folder`, which is made (0700) and holds secrets; raises `UsageError` for a bad archive."""
    folder.mkdir(mode=0o700, parents=True)
    try:
        with path.open("rb") as file:
            manifest, identities = _walk(file, key, path, folder)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    return Saved(manifest, identities, folder)


def _walk(file: BinaryIO, key: Secret, name: str | Path, folder: Path | None) -> tuple[Manifest, Secret]:
    """Check every member, and write them to `folder` when there is one."""
    opened = Opened(file, key, name)
    digests: dict[str, str] = {}
    small: dict[str, bytes] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(fileobj=cast("BinaryIO", opened), mode="r|", bufsize=BLOCK) as tar:
            for member in tar:
                source = tar.extractfile(member)
                if source is None or not _is_ours(member.name):
                    raise UsageError(f"{name} has a part that does not belong there: {member.name!r}")
                digest = _Digest(source)
                if member.name in (MANIFEST, IDENTITIES, END):
                    small[member.name] = digest.read()
                    manifest = manifest or Manifest.of(json.loads(small[MANIFEST]), name)
                else:
                    _copy(digest, folder / member.name if folder else None)
                digests[member.name] = digest.sha.hexdigest()
        while opened.read(1 << 20):
            pass  # to the last piece: only that one says that nothing was cut off
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f"{name} is damaged: {error}") from error
    digests.pop(END, None)
    told = json.loads(small.get(END, b"null"))
    if manifest is None or digests != told or not {IDENTITIES, OBJECTS, DOCUMENTS} <= digests.keys():
        raise UsageError(f"{name} is damaged: its parts are not those that it was written with")
    return manifest, Secret(small[IDENTITIES].decode())


def _is_ours(member: str) -> bool:
    """Whether a member's name is one that an archive of this format has; it becomes a path.

    >>> _is_ours("volumes/pvc-1.tar"), _is_ours("volumes/../x.tar"), _is_ours("/etc/passwd")
    (True, False, False)
    """
    head, slash, rest = member.partition("/")
    if slash:
        return head == "volumes" and rest.endswith(".tar") and "/" not in rest and not rest.startswith(".")
    return head in (MANIFEST, IDENTITIES, OBJECTS, DOCUMENTS, END)


def _copy(source: _Digest, target: Path | None) -> None:
    if target is None:
        while source.read(1 << 20):
            pass
        return
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while data := source.read(1 << 20):
            file.write(data)


def archive_in(place: Path) -> Path:
    """The archive meant by a path: the file itself, or the only archive of a folder. Raises `UsageError`."""
    if not place.is_dir():
        if not place.exists():
            raise UsageError(f"there is no {place}", remedy="usernetes save --to DIR")
        return place
    found = sorted(path for path in place.glob(f"*{SUFFIX}") if not path.name.startswith("."))
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(
            f"{place} has {'several archives: ' + names if found else 'no archive'}",
            remedy=f"--resume {found[0]}" if found else "usernetes save --to DIR",
        )
    return found[0]


def read_key(path: Path) -> Secret:
    """The key in a file of the user's: all its text but for white space around it. Raises `UsageError`."""
    try:
        status = path.stat()
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the key {path}: {reason}", remedy="--key FILE, with a passphrase in it") from error
    if status.st_mode & 0o077:
        raise UsageError(f"the key {path} can be read by others", remedy=f"chmod 600 {path}")
    if len(text) < 8:
        raise UsageError(f"the key {path} has {len(text)} characters, 8 are the least")
    return Secret(text)


def images_of(nodes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The images on any of the nodes, by `status`."""
    return tuple(sorted({image for node in nodes for image in node.get("images", ())}))
