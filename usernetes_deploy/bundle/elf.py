"""Tells whether a binary is static, that is, whether it runs on a host that has none of our libraries."""

from __future__ import annotations

import struct
from pathlib import Path

PT_INTERP = 3


def interpreter(path: Path) -> str | None:
    """The dynamic loader that a 64-bit ELF binary asks for; None for a static one.

    >>> interpreter(Path("/bin/sh"))
    '/lib64/ld-linux-x86-64.so.2'

    Raises `ValueError` when `path` is not a 64-bit ELF file.
    """
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path} is not a 64-bit ELF binary")
        order = "<" if head[5] == 1 else ">"
        (table,) = struct.unpack_from(order + "Q", head, 32)
        entry_size, entries = struct.unpack_from(order + "HH", head, 54)
        file.seek(table)
        headers = file.read(entry_size * entries)
        for index in range(entries):
            kind, _flags, offset, _address, _physical, size = struct.unpack_from(
                order + "IIQQQQ", headers, index * entry_size
            )
            if kind == PT_INTERP:
                file.seek(offset)
                return file.read(size).rstrip(b"\0").decode()
    return None
