"""How nodes and pods reach each other: one backend a folder, and what is exposed on the hosts' real addresses."""

from __future__ import annotations

from usernetes_deploy.errors import UsageError
from usernetes_deploy.network.base import Backend
from usernetes_deploy.network.flannel.backend import Flannel
from usernetes_deploy.network.mesh.backend import Mesh

BACKENDS: dict[str, type[Backend]] = {"mesh": Mesh, "flannel": Flannel}


def backend_named(name: str) -> Backend:
    """A new backend by its name in the spec; raises `UsageError` for any other name.

    >>> backend_named("mesh").name
    'mesh'
    """
    try:
        return BACKENDS[name]()
    except KeyError:
        raise UsageError(f"no network backend is called {name!r}", remedy=f"one of {', '.join(BACKENDS)}") from None
