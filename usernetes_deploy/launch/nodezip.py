"""Makes ``node.pyz``: the node's part of this package as one file that any Python >= 3.9 runs.

Named after the sources in it, so that it travels to a host once. The driver's Python compiles them as well: a node with
the same Python, which is the usual case, starts in half the time and holds a megabyte less in each of its processes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import os
import zipfile
from pathlib import Path

from usernetes_deploy.errors import UsernetesError

PACKAGE = Path(__file__).parents[1]
MEMBERS = (
    "api.py",
    "cpus.py",
    "errors.py",
    "paths.py",
    "threads.py",
    "waiting.py",
    "bundle/contents.py",
    "bundle/stage.py",
    "bundle/unpacking.py",
    "node/*.py",
    "network/*.py",
    "network/*/*.py",
)
DRIVER_ONLY = {"network/keys.py"}
EPOCH = (1980, 1, 1, 0, 0, 0)


def sources() -> dict[str, bytes]:
    """Members of the file; ``__init__`` files outside `node` and `network` become empty, for they import the driver."""
    found = {
        "__main__.py": b"import sys\nfrom usernetes_deploy.node.__main__ import main\nsys.exit(main())\n",
        "usernetes_deploy/__init__.py": b"",
        "usernetes_deploy/bundle/__init__.py": b"",
    }
    for path in sorted(path for pattern in MEMBERS for path in PACKAGE.glob(pattern)):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in DRIVER_ONLY:
            found[f"usernetes_deploy/{name}"] = path.read_bytes()
    return found


def contents(members: dict[str, bytes]) -> bytes:
    """The zip file of `members`, each with its compiled form beside it, which other Pythons pass over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in members.items():
            for member, data in ((name, source), (f"{name}c", _compiled(name, source))):
                info = zipfile.ZipInfo(member, EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
    return buffer.getvalue()


def _compiled(name: str, source: bytes) -> bytes:
    """A .pyc as PEP 552 has it: bit 0 says that it goes by a hash, bit 1 would ask for a check of it."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True, optimize=0))
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source) + code


def build(directory: Path) -> Path:
    """Put the program into `directory` under its sources' name, if it is not there; returns its path.

    Raises `UsernetesError` when it cannot be written.

    >>> build(Path("/tmp")).name  # doctest: +SKIP
    'node-62720f28f06f1d0d.pyz'
    """
    members = sources()
    digest = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    for name, source in members.items():
        digest.update(f"{name} {len(source)}\n".encode() + source)
    target = directory / f"node-{digest.hexdigest()[:16]}.pyz"
    if not target.exists():
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = target.with_suffix(f".{os.getpid()}")
            draft.write_bytes(contents(members))
            draft.replace(target)
        except OSError as error:
            raise UsernetesError(
                error.strerror or str(error),
                tried=f"write {target}",
                remedy="set XDG_CACHE_HOME to a folder you can write",
            ) from error
    return target
