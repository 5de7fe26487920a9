"""A folder on every host's own disk for what netbench itself brings: its small programs and the inputs it makes.

It has the same path everywhere, is filled here, and handed out over what reaches the hosts; a host that has the same
bytes already (this one, or one that shares the file system) gets nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from netbench.places.base import PlaceError
from netbench.places.reach import on_seats
from netbench.start.mpi import Seat
from usernetes_deploy.errors import HostNotFit, UsernetesError

REMEDY = "give a folder that all hosts share and that you may write as software.scratch in the plan"
LIMIT = 120.0
# $1: the folder, $2: checksums as sha256sum reads them. `tar` does not run where all is there.
HAVE = 'cd "$1" 2>/dev/null && printf %s "$2" | sha256sum --check --status 2>/dev/null && echo "@same"; true'
TAKE = r"""umask 022
for folder in "${1%/*}" "$1"; do
  [ -d "$folder" ] || mkdir -p "$folder" || exit 1
  [ -O "$folder" ] && [ ! -L "$folder" ] || { echo "$folder belongs to another user" >&2; exit 1; }
done
cd "$1" && tar -xf - && printf %s "$2" | sha256sum --check --quiet >&2
"""


def scratch_of(out: Path, base: str | None) -> Path:
    """The folder of the campaign in `out`: below `base`, by default on node-local disk."""
    parent = Path(base) if base else Path("/var/tmp") / f"netbench-{os.getuid()}"
    return parent / hashlib.sha256(os.fsencode(out.absolute())).hexdigest()[:12]


def make(scratch: Path) -> None:
    """Make the folder here. Raises `UsernetesError` where it cannot be made, or belongs to somebody else."""
    try:
        for folder in (scratch.parent, scratch):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                raise UsernetesError(f"{folder} belongs to another user", remedy=REMEDY)
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"make {scratch}", remedy=REMEDY) from error


def hand_out(scratch: Path, seats: Sequence[Seat]) -> list[str]:
    """Bring what is in `scratch` to all hosts; the names of those that got it.

    Raises `HostNotFit` that names the first host which did not end up with the same bytes.
    """
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    far = [seat for seat in seats if seat.run]
    if not files or not far:
        return []
    sums = "".join(f"{_sha256(path)}  {path.relative_to(scratch)}\n" for path in files)
    words = f"set -- {shlex.quote(str(scratch))} {shlex.quote(sums)}\n"
    try:
        answers = on_seats(far, words + HAVE)
        lacking = [seat for seat in far if "@same" not in answers[seat.name]]
        on_seats(lacking, words + TAKE, LIMIT, _packed(scratch, files))
    except PlaceError as error:
        take_back(scratch, seats)
        raise HostNotFit([(f"netbench's programs and inputs cannot be handed out: {error}", REMEDY)]) from error
    return [seat.name for seat in lacking]


def take_back(scratch: Path, seats: Sequence[Seat]) -> None:
    """Remove the folder here and on all hosts that can be reached."""
    shutil.rmtree(scratch, ignore_errors=True)
    for seat in seats:
        if seat.run:
            try:
                on_seats([seat], f"rm -rf {shlex.quote(str(scratch))}")
            except PlaceError:
                continue


def _packed(scratch: Path, files: Sequence[Path]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in files:
            archive.add(path, path.relative_to(scratch))
    return packed.getvalue()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
