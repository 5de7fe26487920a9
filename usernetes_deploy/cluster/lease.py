"""Who goes on with a saved cluster: a file beside the archive, so that no two clusters are the same one at once.

While `up --resume` is at work the lease is its process's, then the first node's. On the same host it is known whether
those are alive, and a dead one has lost its lease. Of another host it is not known, and the lease counts until somebody
removes it: `usernetes down` does.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usernetes_deploy.cluster.files import write_private
from usernetes_deploy.cluster.lock import held
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.node.procfs import start_time

NOTE = "lease"  # in the state directory: where the cluster's lease is


@dataclass(frozen=True)
class Lease:
    """The lease of an archive, taken."""

    path: Path

    @classmethod
    def of(cls, archive: Path) -> Lease:
        """That of an archive, taken or not."""
        return cls(archive.with_name(f".{archive.name}.lease"))

    def take(self, cluster: str) -> None:
        """Take it for this process. Raises `UsageError` that names who has it."""
        with held(self.path.with_suffix(".lock"), f"the lease {self.path}"):
            holder = self.holder()
            if holder and is_alive(holder):
                raise UsageError(
                    f"the archive is in use: cluster {holder['cluster']} on {holder['host']} was resumed from it",
                    remedy=f"on {holder['host']}: usernetes down --cluster {holder['cluster']}; "
                    f"where that host is gone for good: rm {self.path}",
                )
            self._write(cluster, os.getpid(), "")

    def hand_over(self, cluster: str, state: Path, folder: str) -> None:
        """Have the cluster's first node hold it from now on; `folder` is that node's."""
        self._write(cluster, 0, folder)
        write_private(state / NOTE, str(self.path))

    def release(self) -> None:
        """Give it back; fine when it is not there."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def holder(self) -> dict[str, Any] | None:
        """Who has it; None when nobody does, or what is there says nothing."""
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
            return said if isinstance(said, dict) and {"cluster", "host", "boot", "pid"} <= said.keys() else None
        except (OSError, ValueError):
            return None

    def _write(self, cluster: str, pid: int, folder: str) -> None:
        said = {
            "cluster": cluster,
            "host": socket.gethostname(),
            "boot": boot(),
            "pid": pid,
            "startTime": start_time(pid) if pid else None,
            "folder": folder,
        }
        try:
            write_private(self.path, json.dumps(said))
        except OSError as error:
            raise UsernetesError(error.strerror or str(error), tried=f"write {self.path}") from error


def release_of(state: Path) -> None:
    """Give back the lease of a cluster that is taken down; most have none."""
    with contextlib.suppress(OSError, ValueError):
        Lease(Path((state / NOTE).read_text(encoding="utf-8"))).release()


def is_alive(holder: Mapping[str, Any]) -> bool:
    """Whether a holder lives, as far as this host can know."""
    if holder["host"] != socket.gethostname():
        return True
    if holder["boot"] != boot():
        return False
    if holder["pid"]:
        return start_time(int(holder["pid"])) == holder.get("startTime")
    try:
        keeper = json.loads((Path(str(holder.get("folder"))) / "keeper.json").read_text(encoding="utf-8"))
        return bool(start_time(int(keeper["pid"])) == keeper["startTime"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def boot() -> str:
    """The id of this boot of the host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
