"""The bundle: every binary and image that a node needs, pinned, verified, in one folder named by its digest.

`build` and `download` make it, `locate` finds it, `pack` makes one archive of it, `stage.stage` puts it on a node's
disk.
"""

from usernetes_deploy.bundle.archive import pack
from usernetes_deploy.bundle.store import Bundle, locate
from usernetes_deploy.errors import BundleError

__all__ = ["Bundle", "BundleError", "locate", "pack"]
