"""The state directory of a cluster: everything `status` and `down` need, from another terminal and another day.

``$XDG_STATE_HOME/usernetes/<cluster>/`` (0700)::

    cluster.json   what was asked for and what was made: launcher, nodes, folders, addresses (no secrets)
    kubeconfig     0600
    secrets.json   0600: certificate authorities and keys, for `add`
    up.log         what `up` did
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.cluster import administrator, merging
from usernetes_deploy.cluster.files import read_kubeconfig, write_private
from usernetes_deploy.cluster.lock import held
from usernetes_deploy.cluster.record import Record, need_fields
from usernetes_deploy.errors import Secret, UsageError, UsernetesError

SCHEMA = 2
WRITABLE = "set XDG_STATE_HOME to a folder you can write"


@dataclass(frozen=True)
class ClusterState:
    """The directory of one cluster, present or not.

    >>> ClusterState(Path("/tmp/state/usernetes"), "demo").kubeconfig
    PosixPath('/tmp/state/usernetes/demo/kubeconfig')
    """

    root: Path
    name: str

    def __post_init__(self) -> None:
        """The name becomes a folder that `remove` removes: it must be one below `root`."""
        if "/" in self.name or self.name.startswith(".") or not self.name:
            raise UsageError(f"{self.name!r} is no name of a cluster", remedy="usernetes list")

    @property
    def directory(self) -> Path:
        """``<root>/<name>``."""
        return self.root / self.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    @property
    def log(self) -> Path:
        """What `up` did, with times."""
        return self.directory / "up.log"

    def exists(self) -> bool:
        """Whether a cluster of this name was begun."""
        return (self.directory / "cluster.json").exists()

    def create(self) -> None:
        """Make the directory; raises `UsageError` when there is such a cluster, `UsernetesError` when it cannot."""
        if self.exists():
            self.refuse_stopped()
            raise UsageError(
                f"a cluster named {self.name} exists",
                remedy=f"usernetes status --cluster {self.name}, or usernetes down --cluster {self.name}",
            )
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(stat.S_IRWXU)
            probe = self.directory / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsernetesError(
                error.strerror or str(error),
                tried=f"make {self.directory}",
                remedy=WRITABLE,
            ) from error

    def read(self) -> dict[str, Any]:
        """cluster.json; raises `UsageError` when there is none, `UsernetesError` when it cannot be read."""
        document = self._document()
        if document.get("schema") != SCHEMA:
            raise UsernetesError(
                f"written by another version of usernetes (record {document.get('schema')}, this one reads {SCHEMA})",
                tried=f"read {self.directory / 'cluster.json'}",
                remedy=f"usernetes down --cluster {self.name} --force, or take it down with the version that made it",
            )
        with self._as_read():
            need_fields(document)
        return document

    @contextlib.contextmanager
    def _as_read(self) -> Iterator[None]:
        """What is said of a part of cluster.json names the file and what to do."""
        try:
            yield
        except UsernetesError as error:
            if error.tried:
                raise
            path, remedy = self.directory / "cluster.json", f"usernetes down --cluster {self.name} --force"
            raise UsernetesError(error.headline(), tried=f"read {path}", remedy=remedy) from error

    def _document(self) -> dict[str, Any]:
        path = self.directory / "cluster.json"
        remedy = f"usernetes down --cluster {self.name} --force"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"there is no cluster named {self.name}", remedy="usernetes list") from error
        except (OSError, ValueError) as error:
            raise UsernetesError(str(error), tried=f"read {path}", remedy=remedy) from error
        if not isinstance(document, dict):
            raise UsernetesError("not a mapping", tried=f"read {path}", remedy=remedy)
        return dict(document)

    def record(self) -> Record:
        """cluster.json, each part of it known to be there; raises what `read` raises, also for a part that is not."""
        document = self.read()
        with self._as_read():
            return Record.of(document)

    def refuse_stopped(self) -> None:
        """Raise `UsageError` when the cluster is stopped: what is asked for needs its nodes."""
        phase = ""
        with contextlib.suppress(UsernetesError):  # whoever reads the record says more of one that cannot be read
            phase = self._document().get("phase", "")
        if phase == "stopped":
            remedy = f"usernetes start --cluster {self.name}, or usernetes down --cluster {self.name}"
            raise UsageError(f"cluster {self.name} is stopped", remedy=remedy)

    def is_readable(self) -> bool:
        """Whether the record says what `down` needs, or there is none."""
        try:
            self.record()
        except UsageError:
            return True
        except UsernetesError:
            return False
        return True

    def launcher(self) -> dict[str, Any]:
        """How the nodes were started, for who looks through all clusters; {} when that cannot be read."""
        try:
            return dict(self._document().get("launcher") or {})
        except (UsernetesError, TypeError, ValueError):
            return {}

    def bundle(self) -> dict[str, Any]:
        """The bundle of its nodes, for who looks through all clusters; {} when that cannot be read."""
        try:
            return dict(self._document().get("bundle") or {})
        except (UsernetesError, TypeError, ValueError):
            return {}

    def write(self, document: Mapping[str, Any]) -> None:
        """Replace cluster.json, whole or not at all."""
        self._put("cluster.json", json.dumps({"schema": SCHEMA, **document}, indent=1))

    def write_secret(self, name: str, content: Secret) -> Path:
        """Write a 0600 file of the directory; returns its path."""
        return self._put(name, content.reveal())

    def read_secret(self, name: str) -> Secret:
        """Read a file written by `write_secret`."""
        path = self.directory / name
        try:
            return Secret(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsernetesError(error.strerror or str(error), tried=f"read {path}") from error

    def api(self, timeout: float = 10) -> Api:
        """The cluster's API as the administrator; raises `UsernetesError` when the kubeconfig cannot be used."""
        administrator.freshen(self)
        cluster, user = read_kubeconfig(self.kubeconfig)
        try:
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            context = ssl.create_default_context(cadata=authority)
            # Python loads a client certificate from files only: an anonymous one in memory, gone when it is read.
            with (
                memory_file(base64.b64decode(user["client-certificate-data"])) as certificate,
                memory_file(base64.b64decode(user["client-key-data"])) as key,
            ):
                context.load_cert_chain(certificate, key)
            return Api(cluster["server"], context, timeout)
        except (KeyError, TypeError, ValueError, ssl.SSLError) as error:
            raise UsernetesError(f"not as usernetes wrote it: {error!r}", tried=f"read {self.kubeconfig}") from error

    def server(self) -> str:
        """The API's address on the hosts' network."""
        return str(self.read()["server"])

    def remove(self) -> None:
        """Remove the directory and everything in it, and the cluster from kubeconfigs that it was merged into."""
        merging.take_out(self.directory, self.name)
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cluster for one change at a time; raises `UsageError` that names the process which holds it."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsernetesError(
                error.strerror or str(error), tried=f"write to {self.root}", remedy=WRITABLE
            ) from error
        with held(self.root / f".{self.name}.lock", f"cluster {self.name}"):
            yield

    def _put(self, name: str, text: str) -> Path:
        path = self.directory / name
        try:
            write_private(path, text)
        except OSError as error:
            raise UsernetesError(error.strerror or str(error), tried=f"write {path}") from error
        return path


@contextlib.contextmanager
def memory_file(data: bytes) -> Iterator[str]:
    """A path under which `data` can be read, without any disk."""
    descriptor = os.memfd_create("usernetes", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def state_root(environment: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/usernetes``, or its default under the home directory."""
    base = environment.get("XDG_STATE_HOME") or f"{environment.get('HOME') or Path.home()}/.local/state"
    return Path(base) / "usernetes"


def clusters(root: Path) -> list[ClusterState]:
    """All clusters begun under `root`, by name."""
    if not root.is_dir():
        return []
    folders = (path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith("."))
    found = (ClusterState(root, path.name) for path in folders)
    return [state for state in found if state.exists()]


def choose(root: Path, name: str | None, environment: Mapping[str, str]) -> ClusterState:
    """The cluster meant: `name`, $USERNETES_CLUSTER, or the only one there is; else a `UsageError` that lists them."""
    there = clusters(root)
    name = name or environment.get("USERNETES_CLUSTER") or (there[0].name if len(there) == 1 else None)
    names = ", ".join(state.name for state in there)
    if not name:
        if not there:
            raise UsageError("there is no cluster", remedy="usernetes up")
        raise UsageError(f"which cluster? There are {names}", remedy="--cluster NAME, or set USERNETES_CLUSTER")
    state = ClusterState(root, name)
    if not state.exists():
        raise UsageError(
            f"there is no cluster named {name}" + (f"; there are {names}" if names else ""), remedy="usernetes list"
        )
    return state
