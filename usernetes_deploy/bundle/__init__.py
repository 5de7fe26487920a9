"""The bundle: every binary and image that a node needs, pinned, verified, in one folder named by its digest.

`build` and `download` make it, `locate` finds it, `pack` makes one archive of it, `stage.stage` puts it on a node's
disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usernetes_deploy.bundle.archive import pack
    from usernetes_deploy.bundle.store import Bundle, locate

__all__ = ["Bundle", "locate", "pack"]


def __getattr__(name: str) -> Any:
    # Nodes import this package for `stage` and have the standard library alone: the rest is loaded when asked for.
    if name == "pack":
        from usernetes_deploy.bundle import archive

        return archive.pack
    if name in ("Bundle", "locate"):
        from usernetes_deploy.bundle import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
