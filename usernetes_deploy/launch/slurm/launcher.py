"""Nodes on the hosts of a Slurm job: each is a step of the job, which ends with it.

>>> launcher = SlurmLauncher(Path("/opt/usernetes/node.pyz"), job="12")  # doctest: +SKIP
>>> [host.name for host in launcher.hosts()]  # doctest: +SKIP
['n1', 'n2']

Nothing of the job's CPUs, memory or devices is taken for a step, and no file system is shared: the node program and
files travel on a step's standard input.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from usernetes_deploy.errors import CommandFailed, UsageError
from usernetes_deploy.launch.base import Completed, Host, Wish, refuse_host_lists
from usernetes_deploy.launch.hostlist import expand, node_name
from usernetes_deploy.launch.program import put_program
from usernetes_deploy.launch.slurm.commands import ACTIVE, Commands, Entry, own_job_id
from usernetes_deploy.launch.slurm.job import SlurmJob
from usernetes_deploy.launch.slurm.shares import READ_GRES, JobPart, parse_gres_conf, share_of
from usernetes_deploy.launch.slurm.steps import Steps
from usernetes_deploy.node.share import Share

RECEIVE = """
umask 077
folder=$(dirname "$1") && mkdir -p "$folder" && half=$(mktemp "$folder/.half.XXXXXX") || exit 1
trap 'rm -f "$half"' EXIT
cat >"$half" && [ "$(wc -c <"$half")" -eq "$2" ] && chmod "$3" "$half" && mv -f "$half" "$1"
"""
SAME = '[ "$1" -ef "$2" ]'


class SlurmLauncher:
    """The first `count` hosts of `job` (our own job without one); `program` is ``node.pyz``.

    `Host.where` is a host of that job, or ``NUMBER/HOST`` for a host of another job that was joined to this one.
    """

    name = "slurm"
    shares_host = False
    ends_with_host = True

    def __init__(
        self, program: Path, *, count: int | None = None, job: str | None = None, commands: Commands | None = None
    ) -> None:
        if count is not None and count < 1:
            raise UsageError(f"a cluster needs at least 1 node, got {count}")
        self._slurm = commands or Commands()
        self._steps = Steps()
        self._program = program
        self._count = count
        self._text = job or own_job_id()
        self._entry: Entry | None = None
        self._hosts: tuple[Host, ...] | None = None
        self._programs: dict[str, Sequence[str]] = {}
        self._parts: dict[str, Mapping[str, JobPart]] = {}
        self._asking = threading.Lock()

    @classmethod
    def asked(cls, wish: Wish, program: Path) -> SlurmLauncher:
        """The launcher that a spec or its flags ask for."""
        return cls(program, count=wish.nodes)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], program: Path) -> SlurmLauncher:
        """Make the launcher again from what `to_state` gave, on any host that has Slurm's commands."""
        made = cls(program, job=str(state["job"]))
        made._hosts = tuple(Host(**host) for host in state["hosts"])
        return made

    def to_state(self) -> Mapping[str, Any]:
        """What `from_state` needs: the job's id and the hosts."""
        return {
            "launcher": self.name,
            "job": self.entry.id if self._hosts is None or self._entry else self._text,
            "hosts": [
                {"name": host.name, "address": host.address, "where": host.where, "labels": dict(host.labels)}
                for host in self.hosts()
            ],
        }

    @property
    def entry(self) -> Entry:
        """The job. Raises `UsageError` outside one, and for one that does not run."""
        if self._entry is None:
            if not self._text:
                raise UsageError(
                    "this is not inside a Slurm job",
                    remedy="usernetes up --launcher slurm --nodes 4, or sbatch -N4 slurm-jobs/usernetes-up.sh",
                )
            self._slurm.version()
            found = self._slurm.job(self._text)
            if found.state not in ACTIVE:
                raise UsageError(f"job {found.id} does not run: {found.state}", remedy=f"squeue --jobs={found.id}")
            if "+" in found.id:
                raise UsageError(
                    f"job {found.id} is a part of a heterogeneous job: its hosts cannot make one cluster",
                    remedy="submit an ordinary job: sbatch -N4 slurm-jobs/usernetes-up.sh",
                )
            self._entry = found
        return self._entry

    def hosts(self) -> Sequence[Host]:
        """The job's hosts in Slurm's order, lost ones left out; `UsageError` when there are fewer than asked for."""
        if self._hosts is None:
            names = self._slurm.host_names(self.entry.hosts)
            lost = self._slurm.silent_hosts(names)
            found = [Host(node_name(name), where=name) for name in names if name not in lost]
            if self._count is not None and len(found) < self._count:
                also = f" ({len(lost)} more are lost)" if lost else ""
                raise UsageError(
                    f"{self._count} nodes were asked for, the Slurm job has {len(found)}{also}",
                    remedy=f"ask for a larger job: sbatch -N{self._count} ...",
                )
            self._hosts = tuple(found[: self._count])
        return self._hosts

    def free_hosts(self) -> Sequence[Host]:
        """Hosts of our job that are no members, then those that join jobs hold for it."""
        taken = {host.where for host in self.hosts()}
        own = self._slurm.host_names(self.entry.hosts)
        held = [
            (f"{job.entry.number}/{name}", name)
            for job in SlurmJob(self._slurm, self.entry, self._steps).holding()
            for name in self._slurm.host_names(job.entry.hosts)
        ]
        found = [(where, name) for where, name in [*((name, name) for name in own), *held] if where not in taken]
        lost = self._slurm.silent_hosts(sorted({name for _, name in found}))
        return [Host(node_name(name), where=where) for where, name in found if name not in lost]

    def take(self, hosts: Sequence[Host]) -> None:
        """Count `hosts` among the members from now on, in `hosts` and in `to_state`."""
        self._hosts = (*self.hosts(), *hosts)

    def grow(self, wish: Wish, taken: Sequence[str]) -> Sequence[Host]:  # noqa: ARG002  our own hosts are the members
        """Take free hosts; `UsageError` when there are fewer."""
        refuse_host_lists(wish)
        count = wish.nodes or 1
        free = self.free_hosts()
        if len(free) < count:
            raise UsageError(
                f"{count} nodes were asked for, the Slurm job has {len(free)} that are free",
                remedy="sbatch -N NODES slurm-jobs/usernetes-join.sh JOBID starts a further job that joins",
            )
        self.take(free[:count])
        return free[:count]

    def release(self, names: Sequence[str]) -> None:
        """Count the hosts of these names among the members no longer."""
        self._hosts = tuple(host for host in self.hosts() if host.name not in names)

    def lost(self) -> Mapping[str, str]:
        """The members whose host Slurm has lost, or whose job has ended, each with the reason."""
        places = {host.name: self._target(host) for host in self.hosts()}
        silent = self._slurm.silent_hosts(sorted({name for _, name in places.values()}))
        running = {entry.number: entry.hosts for entry in self._slurm.jobs() if entry.state in ACTIVE}
        # With --no-kill Slurm takes a lost host out of the job; it stays out when the host is back.
        held = {number: set(expand(hosts)) for number, hosts in running.items() if number in dict(places.values())}
        found = {}
        for node, (job, name) in places.items():
            if job not in running:
                found[node] = f"job {job}, which held its host, has ended"
            elif name in silent:
                found[node] = silent[name]
            elif held[job] and name not in held[job]:
                found[node] = f"Slurm took its host out of job {job}"
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
        """Run `argv` on `host` as a step; after `timeout` seconds it is killed, and `TimedOut` raised.

        A job that has ended, or a host that Slurm cannot reach, is a `UsernetesError`.
        """
        job, name = self._target(host)
        return self._steps.run(job, name, host.name, argv, stdin=stdin, timeout=timeout)

    def stream(self, host: Host, argv: Sequence[str]) -> int:
        """Run `argv` on `host` with its output going to ours, until it ends or we are interrupted; its exit code."""
        return self._steps.stream(*self._target(host), argv)

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:
        """Copy `source` to `target` on `host`, whole or not at all."""
        origin = Path(source)
        there = ["sh", "-c", SAME, "sh", str(origin), target]
        if self.run(host, there).returncode == 0:
            return
        found = origin.stat()
        receive = ["sh", "-c", RECEIVE, "sh", target, str(found.st_size), f"{found.st_mode & 0o777:o}"]
        done = self.run(host, receive, stdin=origin.read_bytes(), timeout=timeout)
        if done.returncode:
            raise CommandFailed(["receive", shlex.quote(target)], done.returncode, done.stderr, node=host.name)

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Start `argv` (the node program's ``run``) as a step that stays; it ends with the job.

        Returns ``{"pid": 4121, "client": 90}``: the node's process over there, and the step's client here.
        """
        job, name = self._target(host)
        # slurmstepd may be killed, and nobody else tidies up after a job's node.
        argv = [*argv, "--die-with-parent", f"--share={self._share(host).to_text()}"]
        pid, client = self._steps.start(job, name, host.name, argv, stdin)
        return {"pid": pid, "client": client}

    def _share(self, host: Host) -> Share:
        """What of `host` is the job's, which Slurm itself may hold nobody to."""
        job, name = self._target(host)
        with self._asking:
            if job not in self._parts:
                self._parts[job] = self._slurm.parts(job)
        part = self._parts[job].get(name)
        if not part:
            return Share()
        total, has_devices = self._slurm.inventory(name)
        told = self.run(host, ["sh", "-c", READ_GRES]).stdout if has_devices else ""
        return share_of(part, total, parse_gres_conf(told, name))

    def close(self) -> None:
        """End short commands still under way; started nodes stay."""
        self._steps.kill_running()

    def _target(self, host: Host) -> tuple[str, str]:
        job, separator, name = host.where.rpartition("/")
        return (job, name) if separator else (self.entry.number, host.where)
