"""Apply the objects that the spec's `manifests` name, when the cluster runs."""

from __future__ import annotations

import re
from pathlib import Path

from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster import user_objects
from usernetes_deploy.cluster.kubectl import kubectl
from usernetes_deploy.errors import CommandFailed, UsernetesError
from usernetes_deploy.waiting import retry

# What passes when a file is applied again: a kind whose definition was applied a moment before, a namespace that the
# same file has further down.
PASSING = re.compile(
    r'no matches for kind|ensure CRDs are installed|could not find the requested|namespaces ".*" not found'
)
PASSING_SECONDS = 20.0


class ApplyManifests:
    """Server-side, as the field manager ``usernetes``; file by file, so that an error names its file."""

    title = "apply the manifests"

    def check(self, up: BringUp) -> bool:
        """Only where there are some."""
        return bool(up.spec.manifests)

    def apply(self, up: BringUp) -> str:
        """Raise `CommandFailed` with kubectl's own words, which name the object."""
        files = user_objects.files(up.spec.manifests)
        for file in files:
            retry(lambda file=file: self._apply(up, file), PASSING_SECONDS, _may_pass)  # type: ignore[misc]
        return f"{len(files)} {'file' if len(files) == 1 else 'files'}"

    def undo(self, up: BringUp) -> None:
        """They go with the cluster."""

    def _apply(self, up: BringUp, file: Path) -> None:
        words = ["apply", "--server-side", "--field-manager=usernetes", f"--filename={file}"]
        remedy = f"correct {file}, then usernetes up again"
        kubectl(up.state, up.bundle.root, words, remedy=remedy, timeout=up.deadline)


def _may_pass(error: UsernetesError) -> bool:
    return isinstance(error, CommandFailed) and bool(PASSING.search(error.output))
