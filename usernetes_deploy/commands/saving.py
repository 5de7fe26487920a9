"""The verb save, and what `up --resume` shares with it: whose key seals an archive."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.changes import saving
from usernetes_deploy.cluster.savefile import read_key
from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, environment, node_program, report, running
from usernetes_deploy.errors import Secret, UsageError, UsernetesError

KEY_HELP = "file with the key or passphrase that seals the archive (default: ~/.config/usernetes/save.key)"


@task(
    klass=Verb,
    help={
        "to": "the folder for the archive, CLUSTER.usernetes; one that is there is replaced in one move",
        "cluster": CLUSTER_HELP,
        "volumes": "whose data goes with it: all (the default), none, or claims as NAMESPACE/NAME,...",
        "key": f"{KEY_HELP}; that one is made at the first save",
        "quiet": "no progress, only the archive's path",
    },
)
def save(
    _: Context,
    to: str | None = None,
    cluster: str | None = None,
    volumes: str = "all",
    key: str | None = None,
    quiet: bool = False,
) -> None:
    """Save a running cluster in one sealed archive, and print its path; `usernetes up --resume DIR` goes on with it.

    Pods run on meanwhile. In it are all objects (Secrets too), the cluster's keys, its spec, and data of volumes.

    Examples:

      usernetes save --to ~/saved
      usernetes save --to ~/saved --volumes default/data,jobs/results
    """
    if not to:
        raise UsageError("where to? --to DIR is missing", remedy="usernetes save --to ~/saved")
    told = report(quiet=quiet)
    state = running(cluster)
    place = Path(key) if key else default_key()
    if not key and not place.exists():
        make_key(place)
        told.line(f"a key was made: {place}; without a copy of it nobody can read the archive")
    print(saving.save(state, told, node_program(), Path(to).absolute(), read_key(place), volumes))


def key_of(named: str | None) -> Secret:
    """The key for reading an archive; raises `UsageError` where there is none."""
    return read_key(Path(named) if named else default_key())


def default_key() -> Path:
    """``$XDG_CONFIG_HOME/usernetes/save.key``, or its default under the home directory."""
    base = environment().get("XDG_CONFIG_HOME") or f"{environment().get('HOME') or Path.home()}/.config"
    return Path(base) / "usernetes" / "save.key"


def make_key(path: Path) -> None:
    """Make a key of 256 bits (0600). Raises `UsernetesError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"make the key {path}") from error


TASKS = (save,)
