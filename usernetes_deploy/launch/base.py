"""What a launcher is: hosts, short commands on them, files to them, and nodes that outlive the driver or the job.

Every far-side command is `argv` of the node program (``node.pyz``, see `usernetes_deploy.node`), so a launcher knows
nothing of Kubernetes. Secrets are only ever passed in ``stdin``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Protocol, TypeVar

from usernetes_deploy.errors import CommandFailed, NodeFailures, TimedOut, UsageError

T = TypeVar("T")
H = TypeVar("H")
INTERRUPTED_WAIT = 10.0  # seconds
WORKERS = 64  # hosts that are served side by side


@dataclass(frozen=True)
class Host:
    """One machine of the allocation.

    `name` is unique within the cluster and becomes the Kubernetes node's name; `address` is the IP address that other
    hosts reach it by ("" until the probe has answered); `where` is the launcher's own handle (a Flux rank, an SSH
    destination).
    """

    name: str
    address: str = ""
    where: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Completed:
    """A finished command: what it printed, and its exit code (negative: the signal that ended it)."""

    argv: Sequence[str]
    returncode: int
    stdout: str
    stderr: str

    def check(self, node: str | None = None, remedy: str | None = None) -> Completed:
        """Return self, or raise `CommandFailed` when the exit code is not 0."""
        if self.returncode:
            raise CommandFailed(self.argv, self.returncode, self.stderr or self.stdout, node=node, remedy=remedy)
        return self


@dataclass(frozen=True)
class Wish:
    """Which hosts are asked for: how many, or which ones (host lists, files, inventories), as the launcher has it.

    `limit` chooses from an Ansible inventory, `accept_new` trusts host keys never seen before (both for SSH).
    """

    nodes: int | None = None
    hosts: Sequence[str] = ()
    limit: str = ""
    accept_new: bool = False


class Launcher(Protocol):
    """Starts commands on hosts. Implementations: `local`, `flux`, `ssh`, and `fake` for tests and scale runs.

    `name` is what specs and records call it, and nobody decides anything by it. With `shares_host` all hosts are this
    very machine: nothing is copied, and nodes meet on the loopback. With `ends_with_host` a node cannot live on where
    its host is not reached any more: the batch system ends it.
    """

    name: str
    shares_host: bool
    ends_with_host: bool

    def hosts(self) -> Sequence[Host]:
        """The members of the allocation, in a stable order; the first carries the control plane."""

    def node_program(self, host: Host) -> Sequence[str]:
        """The argv prefix that runs the node program on `host`, e.g. ``("python3", "/var/tmp/.../node.pyz")``.

        Puts the program there first where the host does not share our file system.
        """

    def run(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> Completed:
        """Run a short command on `host` to its end. Raises `TimedOut`; a non-zero exit code is returned."""

    def stream(self, host: Host, argv: Sequence[str]) -> int:
        """Run a command on `host` with our own stdout and stderr until it ends or we do; returns its exit code."""

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:
        """Copy the file `source` to the path `target` on `host` (no-op where it is the same file)."""

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Start a node: `argv` stays, reads `stdin` to its end, and writes its own log. Returns a JSON-able handle.

        The node lives until `down`, or until the allocation it was started in ends.
        """

    def grow(self, wish: Wish, taken: Sequence[str]) -> Sequence[Host]:
        """Count further hosts among the members from now on, and return them; `taken` are the names of nodes.

        Raises `UsageError` when there are not so many, or the wish is one that only another launcher can grant.
        """

    def release(self, names: Sequence[str]) -> None:
        """Count the hosts of these names among the members no longer (their nodes have left)."""

    def close(self) -> None:
        """Give back connections; started nodes stay."""

    def to_state(self) -> Mapping[str, Any]:
        """What `status` and `down` need, from another process and another day, to make this launcher again."""


def refuse_host_lists(wish: Wish) -> None:
    """Raise `UsageError` for a wish that names hosts, where they are not chosen by name."""
    if wish.hosts:
        raise UsageError(
            "--hosts is for clusters over SSH; this one grows by --nodes", remedy="usernetes add --nodes 1"
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one call per host: results and failures by host name; none is ever dropped."""

    results: Mapping[str, Any]
    failures: Mapping[str, BaseException]

    def check(self, tried: str | None = None) -> Outcome:
        """Return self, or raise `NodeFailures` with a line a node."""
        if self.failures:
            raise NodeFailures(self.failures, tried)
        return self


def on_all(
    hosts: Iterable[Host], call: Callable[[Host], Any], *, deadline: float = 120, workers: int = WORKERS
) -> Outcome:
    """Call ``call(host)`` for every host side by side; a host that is not done after `deadline` seconds has failed.

    >>> on_all([Host("a"), Host("b")], lambda host: host.name.upper()).results
    {'a': 'A', 'b': 'B'}

    A straggler's thread is left behind (a thread cannot be killed), and nobody waits for it, not even Python at its
    end: `call` must hold its own time-out to end.
    """
    members = list(hosts)
    results: dict[str, Any] = {}
    failures: dict[str, BaseException] = {}
    waiting, begun = deque(members), set[str]()
    done: queue.SimpleQueue[tuple[str, Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            try:
                host = waiting.popleft()
            except IndexError:
                return
            begun.add(host.name)
            try:
                done.put((host.name, call(host), None))
            except BaseException as error:
                done.put((host.name, None, error))

    def take(until: float) -> bool:
        """Note the next outcome; False when none comes by then."""
        try:
            name, result, error = done.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return False
        if error is None:
            results[name] = result
        else:
            failures[name] = error
        return True

    ends = time.monotonic() + deadline
    for number in range(min(workers, len(members))):
        threading.Thread(target=work, name=f"host {number}", daemon=True).start()
    try:
        while len(results) + len(failures) < len(members) and take(ends):
            pass
    except BaseException:  # Ctrl-C: whoever takes back what was begun must find it begun, not about to begin
        waiting.clear()
        last = min(ends, time.monotonic() + INTERRUPTED_WAIT)
        while begun - {*results, *failures} and take(last):
            pass
        raise
    waiting.clear()
    for host in members:
        if host.name not in results and host.name not in failures:
            failures[host.name] = TimedOut(f"no answer within {deadline:g} s", node=host.name)
    order = [host.name for host in members]
    return Outcome(
        {name: results[name] for name in order if name in results},
        {name: failures[name] for name in order if name in failures},
    )
