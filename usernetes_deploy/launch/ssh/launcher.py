"""Nodes on hosts that are reached by SSH: clouds, test beds, a cluster without a batch system.

>>> launcher = SshLauncher(load("node[01-16]"), Path("node.pyz"))  # doctest: +SKIP
>>> launcher.run(launcher.hosts()[0], ["hostname"]).stdout  # doctest: +SKIP
'node01\n'
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.base import WORKERS, Completed, Host, Wish, on_all
from usernetes_deploy.launch.hostlist import Target, checked
from usernetes_deploy.launch.inventory import targets_of
from usernetes_deploy.launch.program import TRIED, put_program
from usernetes_deploy.launch.ssh.connect import Connection, Connector
from usernetes_deploy.launch.ssh.exec import attach, execute

START_SECONDS = 60.0
PROGRAM_SECONDS = 60.0
# sshd's MaxSessions is 10 by default; one is left for a person.
SESSIONS_PER_HOST = 9

_HAVE = 'exec 2>/dev/null; [ "$(sha256sum < "$1")" = "$2  -" ] && chmod "$3" "$1"'
_RECEIVE = r"""
umask 077
directory=$(dirname -- "$1")
mkdir -p -- "$directory" || exit 1
half=$(mktemp "$directory/.usernetes-XXXXXX") || exit 1
trap 'rm -f -- "$half"' EXIT; trap 'exit 1' HUP INT TERM PIPE
cat > "$half" || exit 1
size=$(wc -c < "$half")
[ "$size" -eq "$4" ] || { echo "$size of $4 bytes came" >&2; exit 1; }
[ "$(sha256sum < "$half")" = "$2  -" ] || { echo "the file came damaged" >&2; exit 1; }
chmod "$3" "$half" && mv -f -- "$half" "$1"
"""


class SshLauncher:
    """The hosts of `targets`; `program` is the node program (``node.pyz``) of this machine.

    Host keys are checked; `accept_new` writes those never seen into known_hosts (a changed one is always refused).
    `config` replaces ``~/.ssh/config``.
    """

    name = "ssh"
    shares_host = False
    ends_with_host = False

    def __init__(
        self,
        targets: Sequence[Target],
        program: Path,
        *,
        accept_new: bool = False,
        config: Path | None = None,
    ) -> None:
        self._targets = {target.name: target for target in checked(targets, "the host list")}
        self._program = program
        self._config = config
        self._connector = Connector(config, accept_new=accept_new)
        self._connections = {name: self._connector.connection(target) for name, target in self._targets.items()}
        self._sessions = {name: threading.BoundedSemaphore(SESSIONS_PER_HOST) for name in self._targets}
        self._programs: dict[str, Sequence[str]] = {}
        self._digests: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    @classmethod
    def asked(cls, wish: Wish, program: Path) -> SshLauncher:
        """The launcher that a spec or its flags ask for. Raises `UsageError`, also for hosts named twice."""
        return cls(targets_of(tuple(wish.hosts), wish.limit), program, accept_new=wish.accept_new)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], program: Path) -> SshLauncher:
        """Make the launcher again from what `to_state` gave, in another process or on another day."""
        targets = [Target(**{**fields, "options": tuple(fields["options"])}) for fields in state["hosts"]]
        config = Path(state["config"]) if state.get("config") else None
        return cls(targets, program, config=config)

    def grow(self, wish: Wish, taken: Sequence[str]) -> Sequence[Host]:
        """The hosts that the wish lists; one that was given up, or removed by force, may come again."""
        if not wish.hosts:
            raise UsageError("which hosts? A cluster over SSH grows by --hosts LIST")
        added = targets_of(tuple(wish.hosts), wish.limit)
        twice = [f"{target.name} ({target.address})" for target in added if target.name in taken]
        if twice:
            raise UsageError(
                f"already names of nodes: {', '.join(twice)}",
                remedy="leave them out, or give another host a `name` of its own in a host file",
            )
        if wish.accept_new:
            self._connector = Connector(self._config, accept_new=True)
        for target in added:
            self._targets[target.name] = target
            self._connections[target.name] = self._connector.connection(target)
            self._sessions[target.name] = threading.BoundedSemaphore(SESSIONS_PER_HOST)
        checked(list(self._targets.values()), "the host list")
        names = {target.name for target in added}
        return [host for host in self.hosts() if host.name in names]

    def targets(self) -> Sequence[Target]:
        """The hosts and how they are reached."""
        return tuple(self._targets.values())

    def release(self, names: Sequence[str]) -> None:
        """Count the hosts of these names among the members no longer; their connections stay until `close`."""
        for name in names:
            self._targets.pop(name, None)

    def to_state(self) -> Mapping[str, Any]:
        """The hosts and how they are reached; no secret is in it."""
        hosts = [{**asdict(target), "options": list(target.options)} for target in self._targets.values()]
        return {"launcher": self.name, "hosts": hosts, "config": str(self._config.absolute()) if self._config else ""}

    def hosts(self) -> Sequence[Host]:
        """The hosts as listed; `where` is the SSH destination."""
        return [
            Host(
                target.name,
                where=f"{target.user}@{target.address}" if target.user else target.address,
                labels=target.labels,
            )
            for target in self._targets.values()
        ]

    def connect(self, *, deadline: float = 60, workers: int = WORKERS) -> None:
        """Connect to every host side by side; raises `NodeFailures` with the reason of each that failed.

        `run` connects by itself; this one says beforehand, and for all at once, what does not work.
        """
        on_all(
            self.hosts(),
            lambda host: self._connections[host.name].open(time.monotonic() + deadline),
            deadline=deadline,
            workers=workers,
        ).check("connect")

    def node_program(self, host: Host) -> Sequence[str]:
        """Put the node program there, once per content, and return ``(python, path)`` of the far side.

        Raises `HostNotFit` when there is no Python 3.9 or newer.
        """
        known = self._programs.get(host.name)
        if known:
            return known
        self._programs[host.name] = put_program(
            self._program.read_bytes(),
            lambda argv, stdin: self._execute(host, argv, iter([stdin]), PROGRAM_SECONDS, TRIED),
            host.name,
        )
        return self._programs[host.name]

    def run(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> Completed:
        """Run `argv` on `host` to its end, connecting first when needed; after `timeout` seconds `TimedOut` is raised.

        The far side ends a command that is past its time itself, also when the connection is gone.
        """
        return self._execute(host, argv, iter([stdin] if stdin else []), timeout)

    def stream(self, host: Host, argv: Sequence[str]) -> int:
        """Run `argv` on `host` with our own stdout and stderr until it ends or we do; returns its exit code."""
        transport = self._connections[host.name].open(time.monotonic() + START_SECONDS)
        with self._sessions[host.name]:
            return attach(transport, argv, node=host.name)

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:
        """Copy the file `source` to the path `target`: whole, checked (size and sha256), or not at all.

        Nothing travels when the same content is there already. Missing directories are made, for the user alone.
        """
        path = Path(source)
        stat = path.stat()
        digest, mode = self._digest(path), f"{stat.st_mode & 0o777:o}"
        ends = time.monotonic() + timeout
        tried = f"copy {source} to {target}"
        argv = ["sh", "-c", _HAVE, "sh", target, digest, mode]
        if self._execute(host, argv, iter(()), timeout, tried).returncode == 0:
            return
        argv = ["sh", "-c", _RECEIVE, "sh", target, digest, mode, str(stat.st_size)]
        done = self._execute(host, argv, _blocks(path), max(0.1, ends - time.monotonic()), tried)
        if done.returncode:
            raise _failed(done, host, tried)

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Start a node: the node program's ``run`` becomes ``start``, which goes its own way before it returns.

        Whatever happens to the connection afterwards does not matter to the node. Returns the handle it prints:
        ``{"directory": ".../f2kx-1", "pid": 4121, "startTime": 8123456}``.
        """
        detached = ["start" if word == "run" else word for word in argv]
        done = self.run(host, detached, stdin=stdin, timeout=START_SECONDS).check(host.name)
        lines = done.stdout.strip().splitlines() or [""]
        try:
            handle = json.loads(lines[-1])
        except ValueError:
            handle = None
        if not isinstance(handle, dict):
            raise CommandFailed(detached, 0, f"no handle in its answer: {lines[-1]!r}", node=host.name)
        return handle

    def close(self) -> None:
        """End all connections, those to jump hosts last; started nodes stay."""
        connections: list[Connection] = list(self._connections.values())
        for connection in connections:
            connection.close()
        self._connector.close()

    def _execute(
        self, host: Host, argv: Sequence[str], stdin: Iterator[bytes], timeout: float, tried: str = ""
    ) -> Completed:
        deadline = time.monotonic() + timeout
        transport = self._connections[host.name].open(deadline)
        with self._sessions[host.name]:
            return execute(transport, argv, stdin, deadline=deadline, node=host.name, timeout=timeout, tried=tried)

    def _digest(self, path: Path) -> str:
        """The sha256 of a file, computed once for all hosts."""
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if key not in self._digests:
                with path.open("rb") as file:
                    self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._digests[key]


def _blocks(path: Path) -> Iterator[bytes]:
    with contextlib.closing(path.open("rb")) as file:
        while block := file.read(1 << 20):
            yield block


def _failed(done: Completed, host: Host, tried: str) -> UsernetesError:
    said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line] or [
        f"exit code {done.returncode}"
    ]
    remedy = None
    if "No space left" in done.stderr or "Disk quota exceeded" in done.stderr:
        remedy = "make room there, or name another directory for nodes in the spec"
    return UsernetesError(said[0], node=host.name, tried=tried, remedy=remedy)
