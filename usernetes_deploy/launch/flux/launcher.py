"""Nodes on the hosts of a Flux instance: its brokers start the short commands and the nodes, past the scheduler.

>>> launcher = FluxLauncher(Path("/opt/usernetes/node.pyz"))  # doctest: +SKIP
>>> [host.name for host in launcher.hosts()]  # doctest: +SKIP
['node01', 'node02', 'node03']

A node is a child of its host's broker, so it ends with the allocation; nothing of the job's resources is taken for it,
and no file system is shared: the node program travels on stdin, files in an archive of the instance's content store.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Host, Wish, refuse_host_lists
from usernetes_deploy.launch.flux.exec import Executor
from usernetes_deploy.launch.flux.instance import Instance, Member
from usernetes_deploy.launch.flux.job import find
from usernetes_deploy.launch.hostlist import node_name
from usernetes_deploy.launch.program import put_program

BACKGROUND_SINCE = (0, 79)  # the version of Flux that brought `flux exec --bg`
JOIN_SECONDS = 2.0

EXTRACT = """
umask 077
folder=$(dirname "$3") && mkdir -p "$folder" && half=$(mktemp -d "$folder/.half.XXXXXX") || exit 1
trap 'rm -rf "$half"' EXIT
flux archive extract --waitcreate=30s -n "$1" -C "$half" && mv -f "$half/$2" "$3"
"""


class FluxLauncher:
    """The first `count` working hosts of `instance` (all of them without a count); `program` is ``node.pyz``.

    `Host.where` is a rank of the instance, or ``URI#RANK`` for a host of another job that was joined to this one.
    """

    name = "flux"
    shares_host = False
    ends_with_host = True

    def __init__(
        self,
        program: Path,
        *,
        count: int | None = None,
        instance: Instance | None = None,
        background: bool | None = None,
    ) -> None:
        if count is not None and count < 1:
            raise UsageError(f"a cluster needs at least 1 node, got {count}")
        self.instance = instance or Instance()
        self._program = program
        self._count = count
        self._background = background
        self._hosts: tuple[Host, ...] | None = None
        self._programs: dict[str, Sequence[str]] = {}
        self._joined: dict[str, Instance] = {}
        self._archives: dict[tuple[str, str, int, int], tuple[Instance, str]] = {}
        self._archive_lock = threading.Lock()
        self._executor = Executor()
        self._job: str | None = None

    @classmethod
    def asked(cls, wish: Wish, program: Path) -> FluxLauncher:
        """The launcher that a spec or its flags ask for."""
        return cls(program, count=wish.nodes)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], program: Path) -> FluxLauncher:
        """Make the launcher again from what `to_state` gave, on the same host or on one that reaches it by SSH."""
        made = cls(program, instance=Instance(str(state["uri"])))
        made._job = str(state["job"])
        made._hosts = tuple(Host(**host) for host in state["hosts"])
        return made

    def to_state(self) -> Mapping[str, Any]:
        """What `from_state` needs: the instance's URI, its job id, the hosts."""
        return {
            "launcher": self.name,
            "uri": self.instance.remote_uri(),
            "job": self.job,
            "hosts": [
                {"name": host.name, "address": host.address, "where": host.where, "labels": dict(host.labels)}
                for host in self.hosts()
            ],
        }

    @property
    def job(self) -> str:
        """The id of the job that the instance is; "" for the outermost."""
        if self._job is None:
            self._job = self.instance.own_job() or ""
        return self._job

    def hosts(self) -> Sequence[Host]:
        """The instance's hosts by rank, lost ones left out; `UsageError` when there are fewer than asked for."""
        if self._hosts is None:
            self._check_owner()
            ends = time.monotonic() + JOIN_SECONDS
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

    def held_hosts(self) -> Sequence[Host]:
        """Working hosts that join jobs hold for the cluster of our job, members left out: `add` can take them too."""
        if not self.job:
            return []
        taken = {host.where for host in self.hosts()}
        held = [host for other in find(self.job, Instance()).holding() for host in self.hosts_of_job(other.inside())]
        return [host for host in held if host.where not in taken]

    def free_hosts(self) -> Sequence[Host]:
        """What `grow` can take: spare hosts of our job, then those that join jobs hold."""
        return [*self.spare_hosts(), *self.held_hosts()]

    def grow(self, wish: Wish, taken: Sequence[str]) -> Sequence[Host]:  # noqa: ARG002  our own hosts are the members
        """Take free hosts; `UsageError` when there are fewer."""
        refuse_host_lists(wish)
        count = wish.nodes or 1
        free = self.free_hosts()
        if len(free) < count:
            raise UsageError(
                f"{count} nodes were asked for, the Flux instance has {len(free)} that are free",
                remedy="flux batch -N NODES flux-jobs/usernetes-join.sh starts a further job that joins",
            )
        self.take(free[:count])
        return free[:count]

    def hosts_of_job(self, other: Instance) -> Sequence[Host]:
        """The working hosts of another job, as this launcher reaches them: what `add` takes of a join job."""
        uri = other.remote_uri()
        offline = other.offline()
        return [
            Host(host.name, host.address, f"{uri}#{host.where}", host.labels)
            for host in hosts_of(other.members())
            if int(host.where) not in offline
        ]

    def take(self, hosts: Sequence[Host]) -> None:
        """Count `hosts` among the members from now on, in `hosts` and in `to_state`."""
        self._hosts = (*self.hosts(), *hosts)

    def release(self, names: Sequence[str]) -> None:
        """Count the hosts of these names among the members no longer."""
        self._hosts = tuple(host for host in self.hosts() if host.name not in names)

    def lost(self) -> Mapping[str, str]:
        """The members whose broker is gone, each with the reason: what `status` says of them."""
        found: dict[str, str] = {}
        offline: dict[str, set[int] | None] = {}
        for host in self.hosts():
            instance, rank = self._target(host)
            if instance.uri not in offline:
                offline[instance.uri] = _lost_ranks(instance, own=instance is self.instance)
            ranks = offline[instance.uri]
            if ranks is None:
                found[host.name] = "the Flux job that held its host has ended, or does not answer"
            elif int(rank) in ranks:
                found[host.name] = f"the Flux broker of rank {rank} is lost"
        return found

    def node_program(self, host: Host) -> Sequence[str]:
        """The Python that is on `host`, and the program, which is put there first, on stdin (once per launcher)."""
        if host.name not in self._programs:
            content = self._program.read_bytes()
            self._programs[host.name] = put_program(
                content, lambda argv, stdin: self.run(host, argv, stdin=stdin), host.name
            )
        return self._programs[host.name]

    def run(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> Completed:
        """Run `argv` on `host` as a child of its broker; after `timeout` seconds it is killed, and `TimedOut` raised.

        A lost broker or instance is a `UsernetesError`, a command that is not there exit code 127.
        """
        instance, rank = self._target(host)
        return self._executor.run(instance, rank, host.name, argv, stdin=stdin, timeout=timeout)

    def stream(self, host: Host, argv: Sequence[str]) -> int:
        """Run `argv` on `host` with its output going to ours, until it ends or we are interrupted; its exit code."""
        instance, rank = self._target(host)
        return self._executor.stream(instance, rank, argv)

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:
        """Copy `source` to `target` on `host`, whole or not at all.

        The file is put into the instance's content store once, and travels down the tree of brokers from there.
        """
        origin = Path(source)
        if host.where == self._local_rank and Path(target).exists() and Path(target).samefile(origin):
            return
        archive = self._archive(self._target(host)[0], origin)
        script = ["sh", "-c", EXTRACT, "sh", archive, origin.name, target]
        done = self.run(host, script, timeout=timeout)
        if done.returncode:
            raise CommandFailed(["flux", "archive", "extract", target], done.returncode, done.stderr, node=host.name)

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Start `argv` (the node program's ``run``) as a child of the host's broker; it ends when the broker does.

        ``--die-with-parent`` is added, for a broker that is killed cannot end its children.
        Returns ``{"rank": 1, "pid": 4121}``.
        """
        argv = [*argv, "--die-with-parent"]
        instance, rank = self._target(host)
        if self._background is None:
            self._background = instance.version() >= BACKGROUND_SINCE
        if not self._background:
            return {"rank": int(rank), "client": self._executor.start_attached(instance, rank, argv, stdin)}
        return {"rank": int(rank), "pid": self._executor.start(instance, rank, host.name, argv, stdin)}

    def close(self) -> None:
        """Kill short commands still under way and give back the archives; started nodes stay."""
        self._executor.kill_running()
        with self._archive_lock:
            for instance, name in self._archives.values():
                with contextlib.suppress(UsernetesError):
                    instance.command("archive", "remove", "--force", "-n", name)
            self._archives.clear()

    def _target(self, host: Host) -> tuple[Instance, str]:
        uri, separator, rank = host.where.rpartition("#")
        if not separator:
            return self.instance, rank
        if uri not in self._joined:
            self._joined[uri] = Instance(uri, flux=self.instance.flux)
        return self._joined[uri], rank

    def _check_owner(self) -> None:
        owner = self.instance.ask.attribute("security.owner")
        if owner is not None and owner != str(os.getuid()):
            raise UsageError(
                "this Flux instance belongs to another user, so nodes cannot be started in it directly",
                remedy="submit a job: usernetes up --launcher flux -N4, or flux batch -N4 flux-jobs/usernetes-up.sh",
            )

    @cached_property
    def _local_rank(self) -> str:
        """Our rank, when this process runs beside a broker of the instance; else ""."""
        rank = self.instance.ask.attribute("rank") or ""
        here = {str(member.rank): member.host for member in self.instance.members()}
        return rank if here.get(rank) == socket.gethostname() else ""

    def _archive(self, instance: Instance, source: Path) -> str:
        found = source.stat()
        key = (instance.uri, str(source), found.st_size, found.st_mtime_ns)
        with self._archive_lock:
            if key not in self._archives:
                name = f"usernetes-{secrets.token_hex(8)}"
                # Mapping spares a copy of the file in the store; it needs the file beside the broker of rank 0.
                options = ["--mmap"] if instance is self.instance and self._local_rank == "0" else []
                create = ["archive", "create", *options, "-n", name, "-C", str(source.parent.absolute()), source.name]
                instance.command(*create, timeout=600)
                self._archives[key] = (instance, name)
            return self._archives[key][1]


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


def _lost_ranks(instance: Instance, *, own: bool) -> set[int] | None:
    """The ranks whose broker is lost; None when that job, which is not ours, does not answer."""
    try:
        # A question that costs little, and mostly is enough.
        if instance.command("overlay", "status", "--summary").strip() == "full":
            return set()
        return instance.offline()
    except UsernetesError:
        if own:
            raise
        return None
