"""Commands on the hosts of a Flux instance, started by its brokers (`flux exec`): short ones, and ones that stay."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import subprocess
import threading
from collections.abc import Sequence

from usernetes_deploy.errors import CommandFailed, TimedOut, UsernetesError
from usernetes_deploy.launch.base import Completed
from usernetes_deploy.launch.flux.instance import Instance
from usernetes_deploy.node.config import in_memory

NO_HOST = 68  # EX_NOHOST: what `flux exec` returns for a rank without a broker
START_SECONDS = 30.0
KILL_SECONDS = 2.0

# The blob must not lie in a file, and a background command has no stdin: so it comes through a FIFO of ours.
AWAIT_BLOB = """
umask 077
mkdir "$1" && mkfifo "$1/in" || exit 1
exec 9>"$1/out" 8<"$1/in"; shift  # in this order: once the blob is read, the folder may be gone
# The broker complains in its log when our output is closed before our end: 3 and 4 keep it open.
exec "$@" <&8 3>&1 4>&2 >&9 2>&1 8<&- 9>&-
"""
FEED_BLOB = """
tries=0
until [ -p "$1/in" ]; do tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.05; done
timeout "$2" sh -c 'cat > "$1/in"' sh "$1"; code=$?
[ $code = 0 ] || tail -n 20 "$1/out" >&2
rm -rf "$1"
exit $code
"""


class Executor:
    """Runs commands on ranks of any instance; `node` in its errors is the host's name."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._clients: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def run(
        self, instance: Instance, rank: str, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60
    ) -> Completed:
        """Run `argv` to its end; after `timeout` seconds it is killed over there, and `TimedOut` raised.

        A lost broker or instance is a `UsernetesError`, a command that is not there exit code 127.
        """
        process = _popen(instance, argv_for(instance, rank, argv))
        with self._lock:
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"not done after {timeout:g} s", node=node, tried=shlex.join(argv)) from None
        finally:
            _end(process)
            with self._lock:
                self._running.discard(process)
        code = process.returncode
        said = stderr.decode(errors="replace")
        if code == NO_HOST and "No route to host" in said:
            raise UsernetesError(f"the Flux broker of rank {rank} is lost", node=node)
        if code and said.startswith("flux-exec: ") and not said.startswith("flux-exec: Error: rank"):
            raise UsernetesError(said.removeprefix("flux-exec: ").strip(), node=node, tried="flux exec")
        # Like a shell, `flux exec` says 128 + the number of the signal.
        returncode = 128 - code if 128 < code <= 128 + 64 else code
        return Completed(argv, returncode, stdout.decode(errors="replace"), said)

    def stream(self, instance: Instance, rank: str, argv: Sequence[str]) -> int:
        """Run `argv` with its output going to ours, until it ends or we are interrupted; returns its exit code."""
        line = argv_for(instance, rank, argv)
        return subprocess.run(line, env=instance.environment(), stdin=subprocess.DEVNULL, check=False).returncode

    def start(self, instance: Instance, rank: str, node: str, argv: Sequence[str], stdin: bytes) -> int:
        """Start `argv` as a child of the broker, and hand it `stdin`; returns its process id over there."""
        folder = f"/tmp/usernetes-{secrets.token_hex(16)}"
        begin = argv_for(instance, rank, ["sh", "-c", AWAIT_BLOB, "sh", folder, *argv], "--bg")
        process = _popen(instance, begin)
        try:
            stdout, stderr = process.communicate(b"", START_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"not started after {START_SECONDS:g} s", node=node, tried=shlex.join(argv)) from None
        finally:
            _end(process)
        printed = stdout.decode(errors="replace")
        if process.returncode or ":" not in printed:
            said = stderr.decode(errors="replace").strip().removeprefix("flux-exec: ")
            raise UsernetesError(said or f"no process id in {printed!r}", node=node, tried="flux exec --bg")
        feed = ["sh", "-c", FEED_BLOB, "sh", folder, f"{START_SECONDS:g}"]
        fed = self.run(instance, rank, node, feed, stdin=stdin, timeout=2 * START_SECONDS)
        if fed.returncode:
            raise CommandFailed(argv, fed.returncode, fed.stderr or "it did not read its input", node=node)
        return int(printed.partition(":")[2])

    def start_attached(self, instance: Instance, rank: str, argv: Sequence[str], stdin: bytes) -> int:
        """The same with a Flux that has no background commands: the client stays, in a session of its own.

        Returns the client's process id.
        """
        blob = in_memory(stdin)  # the client reads it when it likes; a file would put a node's keys on a disk
        try:
            client = subprocess.Popen(
                argv_for(instance, rank, argv),
                stdin=blob,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=instance.environment(),
                start_new_session=True,
            )
        finally:
            os.close(blob)
        self._clients.append(client)
        return client.pid

    def kill_running(self) -> None:
        """Kill the short commands that are still under way."""
        with self._lock:
            running = list(self._running)
        for process in running:
            process.kill()


def argv_for(instance: Instance, rank: str, argv: Sequence[str], *options: str) -> list[str]:
    """The command line that runs `argv` on `rank`; in ``/``, for our own directory need not exist over there."""
    return [instance.flux, "exec", "-q", *options, "-r", rank, "-d", "/", "--", *argv]


def _popen(instance: Instance, argv: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=instance.environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise UsernetesError(f"there is no command {argv[0]!r} here", remedy="put Flux into PATH") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a `flux exec`: SIGTERM reaches the far process through it, and when it is killed the broker kills that."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
