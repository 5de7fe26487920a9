"""SAVE: a running cluster into one archive, with which `up --resume` goes on (changes/resuming.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from usernetes_deploy.changes.context import Saving
from usernetes_deploy.changes.phase import Phase, Report, run
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.savefile import SUFFIX
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import Secret, UsageError
from usernetes_deploy.phases.save_objects import SaveObjects
from usernetes_deploy.phases.save_volumes import SaveVolumes
from usernetes_deploy.phases.write_archive import WriteArchive

SAVE: Sequence[Phase[Saving]] = (SaveObjects(), SaveVolumes(), WriteArchive())


def save(state: ClusterState, report: Report, program: Path, folder: Path, key: Secret, volumes: str) -> Path:
    """Save a running cluster as ``FOLDER/NAME.usernetes`` (0600), sealed with `key`; returns the archive's path.

    `volumes` says whose data goes with it: ``none``, ``all``, or claims as ``NAMESPACE/NAME,...``. Pods run on: what
    they write meanwhile may be in it or not, as after a power cut. Raises what the phases raise; then an archive that
    was there before is there still.
    """
    if not folder.is_dir():
        raise UsageError(f"--to {folder}: there is no such folder", remedy=f"mkdir -m 700 {folder}")
    with state.locked():
        state.refuse_stopped()
        record = state.record()
        launcher = launcher_from_state(record.launcher, program)
        saving = Saving(
            launcher=launcher,
            state=state,
            report=report,
            target=folder / f"{state.name}{SUFFIX}",
            key=key,
            wanted=volumes,
        )
        saving.record = record
        try:
            run(SAVE, saving, report)
        finally:
            launcher.close()
    return saving.target
