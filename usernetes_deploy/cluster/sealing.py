"""A file that only who has the key can read, and that shows every change: a header in plain text, then sealed pieces.

::

    usernetes-archive {"schema": 1, "salt": ..., "check": ...}\\n
    length (4 bytes, the highest bit: the last piece), sealed piece; as often as needed

The key is made from the user's own (any bytes, such as a passphrase) by scrypt. Each piece is sealed with AES-256-GCM
over its number, whether it is the last, and the header: pieces cannot be changed, left out, exchanged or cut off.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from usernetes_deploy.errors import Secret, UsageError

MAGIC = b"usernetes-archive "
SCHEMA = 1
PIECE = 1 << 20
LAST = 1 << 31
LONGEST_HEADER = 4096
COST = 1 << 15  # scrypt's: 32 MiB and a tenth of a second for each try of a passphrase


class Sealer:
    """Writes a sealed file to `target`; whole only when it was left without an error.

    >>> import io
    >>> file = io.BytesIO()
    >>> with Sealer(file, Secret("a passphrase")) as sealer:
    ...     _ = sealer.write(b"hello")
    >>> _ = file.seek(0)
    >>> Opened(file, Secret("a passphrase"), "demo").read(100)
    b'hello'
    """

    def __init__(self, target: BinaryIO, key: Secret) -> None:
        self._target = target
        salt = os.urandom(16)
        derived = _derive(key, salt)
        said = {"schema": SCHEMA, "salt": _text(salt), "check": _text(derived[32:])}
        self._header = MAGIC + json.dumps(said).encode() + b"\n"
        self._cipher = AESGCM(derived[:32])
        self._number = 0
        self._waiting = bytearray()
        target.write(self._header)

    def write(self, data: bytes) -> int:
        """Take further bytes."""
        self._waiting += data
        while len(self._waiting) > PIECE:
            self._put(bytes(self._waiting[:PIECE]), last=False)
            del self._waiting[:PIECE]
        return len(data)

    def __enter__(self) -> Sealer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last piece, without which the file counts as half."""
        if error is None:
            self._put(bytes(self._waiting), last=True)

    def _put(self, data: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), data, self._header)
        self._target.write(struct.pack(">I", len(sealed) | (LAST if last else 0)) + sealed)
        self._number += 1


class Opened:
    """Reads what `Sealer` wrote; `name` is what errors call the file.

    Raises `UsageError` that says what is wrong: it is no such file, of a newer version, sealed with another key,
    damaged, or only a part of one.
    """

    def __init__(self, source: BinaryIO, key: Secret, name: str | Path) -> None:
        self._source, self._name = source, name
        self._header = source.readline(LONGEST_HEADER)
        said = header(self._header, name)
        derived = _derive(key, base64.b64decode(said["salt"]))
        if _text(derived[32:]) != said["check"]:
            raise UsageError(f"{name} was sealed with another key", remedy="--key FILE, with the key of that save")
        self._cipher = AESGCM(derived[:32])
        self._pieces = self._read_pieces()
        self._waiting = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them (-1: all); b"" at the end."""
        parts = []
        while size:
            if not self._waiting:
                self._waiting = next(self._pieces, b"")
                if not self._waiting:
                    break
            part = self._waiting if size < 0 else self._waiting[:size]
            self._waiting = self._waiting[len(part) :]
            size -= len(part) if size > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def _read_pieces(self) -> Iterator[bytes]:
        number, place = 0, len(self._header)
        while True:
            head = self._source.read(4)
            length = struct.unpack(">I", head)[0] if len(head) == 4 else 0
            last, length = bool(length & LAST), length & ~LAST
            if length > PIECE + 16:
                raise UsageError(f"{self._name} is damaged at byte {place}")
            sealed = self._source.read(length)
            if len(head) < 4 or len(sealed) < length:
                raise UsageError(
                    f"{self._name} is only a part of an archive: it ends after {place + len(sealed)} bytes"
                )
            try:
                data = self._cipher.decrypt(_nonce(number, last=last), sealed, self._header)
            except InvalidTag:
                raise UsageError(f"{self._name} is damaged between bytes {place} and {place + length}") from None
            number, place = number + 1, place + 4 + length
            if last and self._source.read(1):
                raise UsageError(f"{self._name} is damaged: there is more after its end at byte {place}")
            if data:
                yield data
            if last:
                return


def header(line: bytes, name: str | Path) -> dict[str, str]:
    """What the first line of an archive says; raises `UsageError` for a file of another kind, or of a newer version.

    >>> header(b"PK...", "home.zip")
    Traceback (most recent call last):
    usernetes_deploy.errors.UsageError: home.zip is no archive of `usernetes save`
    """
    try:
        if not line.startswith(MAGIC):
            raise ValueError
        said = json.loads(line[len(MAGIC) :])
        schema = int(said["schema"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{name} is no archive of `usernetes save`") from None
    if schema > SCHEMA:
        raise UsageError(
            f"{name} was written by a newer version of usernetes (archive {schema}, this one reads {SCHEMA})",
            remedy="resume it with that version",
        )
    if not (isinstance(said.get("salt"), str) and isinstance(said.get("check"), str)):
        raise UsageError(f"{name} is damaged in its first line")
    return dict(said)


def _derive(key: Secret, salt: bytes) -> bytes:
    """32 bytes that seal, and 16 that tell whether a key is the right one."""
    return Scrypt(salt=salt, length=48, n=COST, r=8, p=1).derive(key.reveal().encode())


def _nonce(number: int, *, last: bool) -> bytes:
    """Each key is used for one file, so a piece's number is enough."""
    return struct.pack(">3xBQ", last, number)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
