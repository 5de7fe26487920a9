"""The administrator's credential: valid for days, and made anew by whatever verb comes along before it ends.

So a copy that somebody got hold of does not work for long, and its owner has nothing to do.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from usernetes_deploy.errors import UsernetesError

if TYPE_CHECKING:
    from usernetes_deploy.cluster.state import ClusterState

VALID = 7 * 86400  # seconds
DUE = VALID / 2  # seconds after it was made


def freshen(state: ClusterState) -> None:
    """Write a new kubeconfig where the one there is is older than `DUE`; does nothing where that cannot be.

    The file's time is asked instead of the certificate: reading one would cost each verb 50 ms.
    """
    try:
        age = time.time() - state.kubeconfig.stat().st_mtime
    except OSError:
        return
    if age > DUE:
        with contextlib.suppress(UsernetesError):  # the one there is may work still
            write(state)


def write(state: ClusterState) -> None:
    """Write a new kubeconfig, and put it where the old one was merged into. Raises `UsernetesError`."""
    from usernetes_deploy.cluster import merging
    from usernetes_deploy.cluster.identities import Identities

    identities = Identities.from_secret(state.read_secret("secrets.json"))
    state.write_secret("kubeconfig", identities.administrator(state.name, state.server()))
    merging.merge_again(state.directory, state.name)
