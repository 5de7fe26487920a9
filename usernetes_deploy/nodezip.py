"""Makes ``node.pyz``: the node's part of this package as one file that any Python >= 3.9 runs.

The same sources give the same bytes, so the file is named after its content and travels to a host once.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

from usernetes_deploy.errors import UsernetesError

PACKAGE = Path(__file__).parent
MEMBERS = ("api.py", "errors.py", "bundle/stage.py", "node/*.py", "network/*.py", "network/*/*.py")
DRIVER_ONLY = {"network/keys.py"}
EPOCH = (1980, 1, 1, 0, 0, 0)


def contents() -> bytes:
    """The zip file; ``__init__`` files outside `node` and `network` become empty, for they import the driver."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)

        add("__main__.py", b"import sys\nfrom usernetes_deploy.node.__main__ import main\nsys.exit(main())\n")
        add("usernetes_deploy/__init__.py", b"")
        add("usernetes_deploy/bundle/__init__.py", b"")
        for path in sorted(path for pattern in MEMBERS for path in PACKAGE.glob(pattern)):
            name = path.relative_to(PACKAGE).as_posix()
            if name not in DRIVER_ONLY:
                add(f"usernetes_deploy/{name}", path.read_bytes())
    return buffer.getvalue()


def build(directory: Path) -> Path:
    """Put the program into `directory` under its content's name, if it is not there; returns its path.

    Raises `UsernetesError` when it cannot be written.

    >>> build(Path("/tmp")).name
    'node-3f1c9a....pyz'
    """
    data = contents()
    target = directory / f"node-{hashlib.sha256(data).hexdigest()[:16]}.pyz"
    if not target.exists():
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = target.with_suffix(f".{os.getpid()}")
            draft.write_bytes(data)
            draft.replace(target)
        except OSError as error:
            raise UsernetesError(
                error.strerror or str(error),
                tried=f"write {target}",
                remedy="set XDG_CACHE_HOME to a folder you can write",
            ) from error
    return target
