"""Nodes on the hosts of a Flux instance: its brokers start the short commands and the nodes, past the scheduler.

>>> launcher = FluxLauncher(Path("/opt/usernetes/node.pyz"))
>>> [host.name for host in launcher.hosts()]
['node01', 'node02', 'node03']

A node is a child of its host's broker, so it ends with the allocation; nothing of the job's resources is taken for it,
and no file system is shared: the node program travels on stdin, files in an archive of the instance's content store.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from usernetes_deploy.errors import CommandFailed, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.flux_instance import Instance, Member
from usernetes_deploy.launch.hostlist import node_name

_NO_HOST = 68  # EX_NOHOST: what `flux exec` returns for a rank without a broker
_BACKGROUND_SINCE = (0, 79)  # `flux exec --bg`
_JOIN_SECONDS = 2.0
_KILL_SECONDS = 2.0
_START_SECONDS = 30.0

# Both refuse a directory that another user made before us.
_STORE_PROGRAM = """
umask 077
base=/var/tmp/usernetes-$(id -u); mkdir -p "$base" && [ -O "$base" ] && [ ! -L "$base" ] || {
  echo "$base belongs to another user" >&2; exit 1; }
mkdir -p "$base/program" && half=$(mktemp "$base/program/.half.XXXXXX") && cat > "$half" &&
  mv -f "$half" "$base/program/$1.pyz" && echo "$base/program/$1.pyz"
"""
_EXTRACT = """
umask 077
folder=$(dirname "$3") && mkdir -p "$folder" && half=$(mktemp -d "$folder/.half.XXXXXX") || exit 1
trap 'rm -rf "$half"' EXIT
flux archive extract --waitcreate=30s -n "$1" -C "$half" && mv -f "$half/$2" "$3"
"""
# The blob must not lie in a file, and a background command has no stdin: so it comes through a FIFO of ours.
_AWAIT_BLOB = """
umask 077
mkdir "$1" && mkfifo "$1/in" || exit 1
exec 8<"$1/in" 9>"$1/out"; shift
# The broker complains in its log when our output is closed before our end: 3 and 4 keep it open.
exec "$@" <&8 3>&1 4>&2 >&9 2>&1 8<&- 9>&-
"""
_FEED_BLOB = """
tries=0
until [ -p "$1/in" ]; do tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.05; done
timeout "$2" sh -c 'cat > "$1/in"' sh "$1"; code=$?
[ $code = 0 ] || tail -n 20 "$1/out" >&2
rm -rf "$1"
exit $code
"""


class FluxLauncher:
    """The first `count` working hosts of `instance` (all of them without a count); `program` is ``node.pyz``."""

    name = "flux"

    def __init__(
        self,
        program: Path,
        *,
        count: int | None = None,
        instance: Instance | None = None,
        python: str = "python3",
        background: bool | None = None,
    ) -> None:
        if count is not None and count < 1:
            raise UsageError(f"a cluster needs at least 1 node, got {count}")
        self.instance = instance or Instance()
        self._program = program
        self._count = count
        self._python = python
        self._background = background
        self._hosts: tuple[Host, ...] | None = None
        self._programs: dict[str, str] = {}
        self._archives: dict[tuple[str, int, int], str] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._clients: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._archive_lock = threading.Lock()

    @classmethod
    def from_state(cls, state: Mapping[str, Any], program: Path) -> FluxLauncher:
        """Make the launcher again from what `to_state` gave, on the same host or on one that reaches it by SSH."""
        made = cls(program, instance=Instance(str(state["uri"])))
        made._hosts = tuple(Host(**host) for host in state["hosts"])
        return made

    def to_state(self) -> Mapping[str, Any]:
        """What `from_state` needs: the instance's URI, its job id, the hosts."""
        return {
            "launcher": self.name,
            "uri": self.instance.remote_uri(),
            "job": self.instance.own_job() or "",
            "hosts": [
                {"name": host.name, "address": host.address, "where": host.where, "labels": dict(host.labels)}
                for host in self.hosts()
            ],
        }

    def hosts(self) -> Sequence[Host]:
        """The instance's hosts by rank, lost ones left out; `UsageError` when there are fewer than asked for."""
        if self._hosts is None:
            self._check_owner()
            ends = time.monotonic() + _JOIN_SECONDS
            # In the first moments of an instance a broker that has joined may still be listed as offline.
            while (offline := self.instance.offline()) and time.monotonic() < ends:
                time.sleep(0.1)
            found = [host for host in hosts_of(self.instance.members()) if int(host.where) not in offline]
            if self._count is not None and len(found) < self._count:
                lost = f" ({len(offline)} more are lost)" if offline else ""
                raise UsageError(
                    f"{self._count} nodes were asked for, the Flux instance has {len(found)}{lost}",
                    remedy=f"ask for a larger job: flux batch -N{self._count} ...",
                )
            self._hosts = tuple(found[: self._count])
        return self._hosts

    def spare_hosts(self) -> Sequence[Host]:
        """Working hosts of the instance that `hosts` does not name: what `add` can take without a new job."""
        taken = {host.where for host in self.hosts()}
        offline = self.instance.offline()
        return [
            host
            for host in hosts_of(self.instance.members())
            if host.where not in taken and int(host.where) not in offline
        ]

    def take(self, hosts: Sequence[Host]) -> None:
        """Make free hosts of the instance members."""
        self._hosts = (*self.hosts(), *hosts)

    def lost(self) -> Mapping[str, str]:
        """The members whose broker is gone, each with the reason: what `status` says of them."""
        offline = self.instance.offline()
        return {
            host.name: f"the Flux broker of rank {host.where} is lost"
            for host in self.hosts()
            if int(host.where) in offline
        }

    def node_program(self, host: Host) -> Sequence[str]:
        """``("python3", ".../node.pyz")`` on `host`; the program is put there first, on stdin (once per launcher)."""
        if host.name not in self._programs:
            content = self._program.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            stored = self.run(host, ["sh", "-c", _STORE_PROGRAM, "sh", digest], stdin=content).check(host.name)
            self._programs[host.name] = stored.stdout.strip()
        return (self._python, self._programs[host.name])

    def run(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> Completed:
        """Run `argv` on `host` as a child of its broker; after `timeout` seconds it is killed, and `TimedOut` raised.

        A lost broker or instance is a `UsernetesError`, a command that is not there exit code 127.
        """
        process = self._popen(self._exec(host, argv))
        with self._lock:
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"not done after {timeout:g} s", node=host.name, tried=shlex.join(argv)) from None
        finally:
            _end(process)
            with self._lock:
                self._running.discard(process)
        code = process.returncode
        said = stderr.decode(errors="replace")
        if code == _NO_HOST and "No route to host" in said:
            raise UsernetesError(f"the Flux broker of rank {host.where} is lost", node=host.name)
        if code and said.startswith("flux-exec: ") and not said.startswith("flux-exec: Error: rank"):
            raise UsernetesError(said.removeprefix("flux-exec: ").strip(), node=host.name, tried="flux exec")
        # Like a shell, `flux exec` says 128 + the number of the signal.
        returncode = 128 - code if 128 < code <= 128 + 64 else code
        return Completed(argv, returncode, stdout.decode(errors="replace"), said)

    def stream(self, host: Host, argv: Sequence[str]) -> int:
        """Run `argv` on `host` with its output going to ours, until it ends or we are interrupted; its exit code."""
        try:
            return subprocess.run(
                self._exec(host, argv), env=self.instance.environment(), stdin=subprocess.DEVNULL, check=False
            ).returncode
        except FileNotFoundError:
            raise UsernetesError("there is no `flux` command", node=host.name) from None

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:
        """Copy `source` to `target` on `host`, whole or not at all.

        The file is put into the instance's content store once, and travels down the tree of brokers from there.
        """
        origin = Path(source)
        if self._is_here(host) and Path(target).exists() and Path(target).samefile(origin):
            return
        archive = self._archive(origin)
        script = ["sh", "-c", _EXTRACT, "sh", archive, origin.name, target]
        done = self.run(host, script, timeout=timeout)
        if done.returncode:
            raise CommandFailed(["flux", "archive", "extract", target], done.returncode, done.stderr, node=host.name)

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Start `argv` (the node program's ``run``) as a child of the host's broker; it ends when the broker does.

        ``--die-with-parent`` is added, for a broker that is killed cannot end its children.
        Returns ``{"rank": 1, "pid": 4121}``.
        """
        argv = [*argv, "--die-with-parent"]
        if self._background is None:
            self._background = self.instance.version() >= _BACKGROUND_SINCE
        if not self._background:
            return self._start_attached(host, argv, stdin)
        folder = f"/tmp/usernetes-{secrets.token_hex(16)}"
        begin = self._exec(host, ["sh", "-c", _AWAIT_BLOB, "sh", folder, *argv], "--bg")
        process = self._popen(begin)
        try:
            stdout, stderr = process.communicate(b"", _START_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"not started after {_START_SECONDS:g} s", node=host.name, tried=shlex.join(argv)) from None
        finally:
            _end(process)
        printed = stdout.decode(errors="replace")
        if process.returncode or ":" not in printed:
            said = stderr.decode(errors="replace").strip().removeprefix("flux-exec: ")
            raise UsernetesError(said or f"no process id in {printed!r}", node=host.name, tried="flux exec --bg")
        feed = ["sh", "-c", _FEED_BLOB, "sh", folder, f"{_START_SECONDS:g}"]
        fed = self.run(host, feed, stdin=stdin, timeout=2 * _START_SECONDS)
        if fed.returncode:
            raise CommandFailed(argv, fed.returncode, fed.stderr or "it did not read its input", node=host.name)
        return {"rank": int(host.where), "pid": int(printed.partition(":")[2])}

    def close(self) -> None:
        """Kill short commands still under way and give back the archives; started nodes stay."""
        with self._lock:
            running = list(self._running)
        for process in running:
            process.kill()
        with self._archive_lock:
            for name in self._archives.values():
                with contextlib.suppress(UsernetesError):
                    self.instance.command("archive", "remove", "--force", "-n", name)
            self._archives.clear()

    def _check_owner(self) -> None:
        owner = self.instance.ask.attribute("security.owner")
        if owner is not None and owner != str(os.getuid()):
            raise UsageError(
                "this Flux instance belongs to another user, so nodes cannot be started in it directly",
                remedy="submit a job: usernetes up --launcher flux -N4, or flux batch -N4 flux-jobs/usernetes-up.sh",
            )

    def _start_attached(self, host: Host, argv: Sequence[str], stdin: bytes) -> Mapping[str, Any]:
        # Without background commands the client stays, in a session of its own.
        with tempfile.TemporaryFile() as blob:
            blob.write(stdin)
            blob.seek(0)
            client = subprocess.Popen(
                self._exec(host, argv),
                stdin=blob,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.instance.environment(),
                start_new_session=True,
            )
        self._clients.append(client)
        return {"rank": int(host.where), "client": client.pid}

    def _exec(self, host: Host, argv: Sequence[str], *options: str) -> list[str]:
        # -d: our own working directory need not exist over there.
        return [self.instance.flux, "exec", "-q", *options, "-r", host.where, "-d", "/", "--", *argv]

    def _popen(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.instance.environment(),
                start_new_session=True,
            )
        except FileNotFoundError:
            raise UsernetesError(f"there is no command {argv[0]!r} here", remedy="put Flux into PATH") from None

    @cached_property
    def _local_rank(self) -> str:
        """Our rank, when this process runs beside a broker of the instance; else ""."""
        rank = self.instance.ask.attribute("rank") or ""
        here = {str(member.rank): member.host for member in self.instance.members()}
        return rank if here.get(rank) == socket.gethostname() else ""

    def _is_here(self, host: Host) -> bool:
        return host.where == self._local_rank

    def _archive(self, source: Path) -> str:
        found = source.stat()
        key = (str(source), found.st_size, found.st_mtime_ns)
        with self._archive_lock:
            if key not in self._archives:
                name = f"usernetes-{secrets.token_hex(8)}"
                # Mapping spares a copy of the file in the store; it needs the file beside the broker of rank 0.
                options = ["--mmap"] if self._local_rank == "0" else []
                create = ["archive", "create", *options, "-n", name, "-C", str(source.parent.absolute()), source.name]
                self.instance.command(*create, timeout=600)
                self._archives[key] = name
            return self._archives[key]


def hosts_of(members: Sequence[Member]) -> list[Host]:
    """A host for every member; where one host runs several brokers, the rank is added to its name."""
    counts = Counter(member.host for member in members)
    return [
        Host(
            name=node_name(member.host) + (f"-{member.rank}" if counts[member.host] > 1 else ""),
            where=str(member.rank),
            labels={"usernetes.dev/flux-cores": str(member.cores)}
            | ({"usernetes.dev/flux-gpus": str(member.gpus)} if member.gpus else {}),
        )
        for member in members
    ]


def available() -> bool:
    """Whether there is a `flux` command in PATH."""
    return shutil.which("flux") is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a `flux exec`: SIGTERM reaches the far process through it, and when it is killed the broker kills that."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
