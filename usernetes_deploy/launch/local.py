"""Nodes on this very machine: every host of the launcher is the same one, and a node is a detached process.

>>> launcher = LocalLauncher(3, Path("/opt/usernetes/node.pyz"))
>>> [host.name for host in launcher.hosts()]
['node0', 'node1', 'node2']
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Host, Wish, refuse_host_lists
from usernetes_deploy.node.config import in_memory
from usernetes_deploy.node.procfs import start_time

# A process that has been killed may leave a child in another group that holds its pipes open; its output is given up.
_LAST_WORDS_SECONDS = 0.5

# What a node and its program need of our environment: nobody's tokens stay in that of a process that lives for days.
# The last of them name a batch job: by these its epilog finds a node that outlived it (playbooks/roles/*/files/epilog).
_KEPT = (
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "PYTHONDONTWRITEBYTECODE"),
    *("SLURM_JOB_ID", "FLUX_JOB_ID", "FLUX_ENCLOSING_ID"),
)

# Runs between us and the node, so that the node is nobody's child here: it can be neither our zombie nor a process
# that we would have to wait for. Signals go back to their defaults, since an ignored one would be inherited by every
# container of the node.
_DETACH = """
import os, signal, sys
argv = sys.argv[1:]
null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
every = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
try:
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=null, setsid=True, setsigdef=every, setsigmask=())
except OSError as error:
    sys.exit(f"{argv[0]}: {error.strerror}")
print(pid)
"""


class LocalLauncher:
    """`count` nodes on this host, named ``node0``, ``node1``, ...; `program` is the node program (``node.pyz``)."""

    name = "local"
    shares_host = True
    ends_with_host = False

    def __init__(self, count: int, program: Path) -> None:
        if count < 1:
            raise UsageError(f"a cluster needs at least 1 node, got {count}")
        self._hosts = _named(count)
        self._program = program
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    @classmethod
    def asked(cls, wish: Wish, program: Path) -> LocalLauncher:
        """The launcher that a spec or its flags ask for."""
        return cls(1 if wish.nodes is None else wish.nodes, program)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], program: Path) -> LocalLauncher:
        """Make the launcher again from what `to_state` gave."""
        return cls(int(state["count"]), program)

    def to_state(self) -> Mapping[str, Any]:
        """What `from_state` needs: ``{"launcher": "local", "count": 3}``."""
        return {"launcher": self.name, "count": len(self._hosts)}

    def hosts(self) -> Sequence[Host]:
        """``node0`` to ``node<count-1>``."""
        return self._hosts

    def node_program(self, host: Host) -> Sequence[str]:  # noqa: ARG002  every host is this one
        """The interpreter that runs us, and the node program where it lies."""
        return (sys.executable, str(self._program))

    def run(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> Completed:
        """Run `argv` to its end; after `timeout` seconds its whole process group is killed, and `TimedOut` raised.

        A command that is not there gives exit code 127, one that may not be run 126, as in a shell.
        """
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=environment(),
            )
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Completed(argv, code, "", f"{argv[0]}: {error.strerror}")
        with self._lock:
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as expired:
            tail = (expired.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
            said = f"; it last said: {tail[0]}" if tail else ""
            raise TimedOut(f"not done after {timeout:g} s{said}", node=host.name, tried=shlex.join(argv)) from None
        finally:
            _end(process)
            with self._lock:
                self._running.discard(process)
        return Completed(argv, process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def stream(self, host: Host, argv: Sequence[str]) -> int:  # noqa: ARG002
        """Run `argv` with our own stdout and stderr."""
        return subprocess.run(argv, check=False).returncode

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:  # noqa: ARG002
        """Copy `source` to `target`, whole or not at all; nothing is done when both are the same file."""
        origin, destination = Path(source), Path(target)
        if destination.exists() and destination.samefile(origin):
            return
        half = destination.with_name(f".{destination.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, half)
            half.replace(destination)
        except OSError as error:
            with contextlib.suppress(OSError):
                half.unlink()
            raise UsernetesError(f"{error.strerror}", node=host.name, tried=f"copy {origin} to {target}") from error

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Start `argv` in a session of its own, outliving us; return ``{"pid": 4121, "start_time": 8123456}``.

        `start_time` is in clock ticks since boot (field 22 of ``/proc/PID/stat``): with it the pid cannot be taken
        for a later process. `stdin` is handed over in memory, so nothing waits for the node to read it.
        """
        # Not a pipe: it would hold 64 KiB and then wait for a reader, and the blob of a node may be larger.
        blob = in_memory(stdin)
        try:
            detached = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _DETACH, *argv],
                stdin=blob,
                capture_output=True,
                text=True,
                start_new_session=True,
                env=environment(),
                check=False,
            )
        finally:
            os.close(blob)
        if detached.returncode:
            raise UsernetesError(detached.stderr.strip(), node=host.name, tried=shlex.join(argv))
        pid = int(detached.stdout)
        began = start_time(pid)
        if began is None:
            raise UsernetesError("the node ended at once", node=host.name, tried=shlex.join(argv))
        return {"pid": pid, "start_time": began}

    def grow(self, wish: Wish, taken: Sequence[str]) -> Sequence[Host]:
        """Further nodes on this host, with the lowest names that are free."""
        refuse_host_lists(wish)
        count = wish.nodes or 1
        self._hosts = _named(len(taken) + count)
        return [host for host in self._hosts if host.name not in taken][:count]

    def release(self, names: Sequence[str]) -> None:
        """All of them are this host: none is lost by a node's leaving."""

    def close(self) -> None:
        """Kill the short commands still under way; started nodes stay."""
        with self._lock:
            running = list(self._running)
        for process in running:
            _kill_group(process)


def environment(whole: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What of the environment `whole` is handed to the node program.

    >>> environment({"HOME": "/home/me", "LC_ALL": "C", "GITHUB_TOKEN": "secret", "SLURM_JOB_ID": "7"})
    {'HOME': '/home/me', 'LC_ALL': 'C', 'SLURM_JOB_ID': '7'}
    """
    return {name: value for name, value in whole.items() if name in _KEPT or name.startswith("LC_")}


def _named(count: int) -> tuple[Host, ...]:
    return tuple(Host(f"node{index}", "127.0.0.1", "local") for index in range(count))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # reaped processes give their number to others
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process)
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        process.communicate(timeout=_LAST_WORDS_SECONDS)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
