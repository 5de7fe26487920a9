"""A Flux instance as it is asked: its resources, its jobs, its attributes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from usernetes_deploy.errors import CommandFailed, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.flux.questions import ByCommand, ByPython, Questions, json_object
from usernetes_deploy.launch.hostlist import expand

SECONDS = 30.0  # a question that takes longer has a dead broker on its way


@dataclass(frozen=True)
class Member:
    """One broker's share of an instance: its rank, its host, and what of the host belongs to the instance."""

    rank: int
    host: str
    cores: int
    gpus: int


@dataclass(frozen=True)
class Job:
    """A job as the instance lists it; `memo` holds its user's notes, `uri` is set when it is an instance itself."""

    id: int
    f58: str
    name: str
    user_id: int
    state: str
    result: str
    host_count: int
    hosts: str
    ranks: str
    uri: str
    expires: float
    exception: str
    memo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.state == "INACTIVE"


class Instance:
    """The instance at `uri` (``""``: the one this process belongs to).

    >>> Instance("local:///run/flux/local").members()[0]  # doctest: +SKIP
    Member(rank=0, host='node01', cores=48, gpus=4)
    """

    def __init__(self, uri: str = "", *, flux: str = "flux", questions: Questions | None = None) -> None:
        self.uri = reachable(uri)
        self.flux = flux
        self._questions = questions

    @cached_property
    def ask(self) -> Questions:
        """How this instance is asked: by flux-python where it can be imported, else by command."""
        return self._questions or (ByPython(self.uri) if ByPython.usable() else ByCommand(self.command))

    def command(self, *arguments: str, stdin: str | None = None, timeout: float = SECONDS) -> str:
        """What ``flux ARGUMENTS`` prints. Raises `CommandFailed`, `TimedOut`, or `UsernetesError` without Flux."""
        argv = [self.flux, *arguments]
        try:
            done = subprocess.run(
                argv,
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=timeout,
                env=self.environment(),
                check=False,
                start_new_session=True,  # what signals our job's processes as a group ends no question with it
            )
        except FileNotFoundError:
            raise UsernetesError(
                "there is no `flux` command", remedy="load Flux's module, or put its bin directory into PATH"
            ) from None
        except subprocess.TimeoutExpired:
            raise TimedOut(f"no answer within {timeout:g} s", tried=" ".join(argv)) from None
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The environment of a `flux` command that speaks to this instance."""
        return {**os.environ, "FLUX_URI": self.uri} if self.uri else dict(os.environ)

    def parent(self) -> Instance | None:
        """The instance that this one is a job of; None for the outermost."""
        uri = self.ask.attribute("parent-uri")
        return Instance(uri, flux=self.flux) if uri else None

    def version(self) -> tuple[int, int]:
        """The version of the instance's brokers: ``(0, 79)``."""
        text = self.ask.attribute("version") or ""
        found = re.match(r"(\d+)\.(\d+)", text)
        if not found:
            raise UsernetesError(f"{text!r} is no version of Flux", tried="flux getattr version")
        return int(found[1]), int(found[2])

    def own_job(self) -> str | None:
        """The id of the job that this instance is, in its parent; None for the outermost."""
        return self.ask.attribute("jobid")

    def remote_uri(self) -> str:
        """The URI by which another machine reaches our broker of this instance: ``ssh://node01/tmp/flux-Qx/local-0``."""
        path = urlsplit(self.ask.attribute("local-uri") or "").path
        host = self.ask.attribute("hostname") or socket.gethostname()
        return f"ssh://{host}{path}" if path else self.uri

    def settings(self) -> dict[str, Any]:
        """The instance's configuration: queues, policies, limits."""
        return json_object(self.command("config", "get"), "flux config get")

    def members(self, state: str = "all") -> list[Member]:
        """The brokers of the instance by rank, lost ones included."""
        return parse_members(self.ask.resources(state))

    def offline(self) -> set[int]:
        """The ranks whose broker is lost."""
        return set(parse_idset(self.ask.offline()))

    def jobs(self, ids: Sequence[int] = ()) -> list[Job]:
        """The jobs `ids`, or the asking user's jobs that have not ended."""
        return [parse_job(entry) for entry in self.ask.jobs(ids)]

    def job(self, text: str) -> Job:
        """The job that `text` (``ƒ2EqTrdbu``, ``f2EqTrdbu``, decimal, ...) names. Raises `UsageError`."""
        found = self.jobs([self.ask.job_id(text)])
        if not found:
            raise UsageError(
                f"there is no job {text}", remedy="`usernetes list` shows the clusters, `flux jobs -a` the jobs"
            )
        return found[0]


def reachable(uri: str) -> str:
    """`uri` in the form that works here: ``ssh://`` to this very host becomes ``local://``, without a connection."""
    parts = urlsplit(uri)
    if parts.scheme == "ssh" and parts.hostname in (socket.gethostname(), socket.gethostname().lower()):
        return f"local://{parts.path}"
    return uri


def parse_members(resource_set: Mapping[str, Any]) -> list[Member]:
    """The members of a resource set of version 1 (RFC 20).

    >>> R = {"version": 1, "execution": {"nodelist": ["n[07-08]"],
    ...      "R_lite": [{"rank": "0-1", "children": {"core": "0-3", "gpu": "0"}}]}}
    >>> parse_members(R)[1]
    Member(rank=1, host='n08', cores=4, gpus=1)
    """
    if resource_set.get("version") != 1:
        raise UsernetesError(f"the resource set has version {resource_set.get('version')!r}, known is 1")
    execution = resource_set["execution"]
    shares = sorted(
        (rank, len(parse_idset(entry["children"].get("core", ""))), len(parse_idset(entry["children"].get("gpu", ""))))
        for entry in execution["R_lite"]
        for rank in parse_idset(entry["rank"])
    )
    hosts = [name for part in execution["nodelist"] for name in expand(part)]
    if len(hosts) != len(shares):
        raise UsernetesError(f"the resource set names {len(hosts)} hosts for {len(shares)} ranks")
    return [Member(rank, host, cores, gpus) for (rank, cores, gpus), host in zip(shares, hosts, strict=True)]


def parse_idset(text: str) -> list[int]:
    """The numbers of an idset (RFC 22), in order.

    >>> parse_idset("0-2,7")
    [0, 1, 2, 7]
    """
    numbers: list[int] = []
    for part in filter(None, text.strip().strip("[]").split(",")):
        first, _, last = part.partition("-")
        try:
            numbers.extend(range(int(first), int(last or first) + 1))
        except ValueError:
            raise UsernetesError(f"{text!r} is no idset such as 0-2,7") from None
    return numbers


def parse_job(entry: Mapping[str, Any]) -> Job:
    """A job from one object of ``flux jobs --json``."""
    exception = entry.get("exception") or {}
    said = ""
    if exception.get("occurred"):
        said = f"{exception.get('type', '')}: {exception.get('note', '')}".strip(": ")
    return Job(
        id=int(entry["id"]),
        f58=str(entry["jobid"]),
        name=str(entry.get("name", "")),
        user_id=int(entry["userid"]),
        state=str(entry["state"]),
        result=str(entry.get("result", "")),
        host_count=int(entry.get("nnodes") or 0),
        hosts=str(entry.get("nodelist", "")),
        ranks=str(entry.get("ranks", "")).strip("[]"),
        uri=str(entry.get("uri") or ""),
        expires=float(entry.get("expiration") or 0),
        exception=said,
        memo=dict((entry.get("annotations") or {}).get("user") or {}),
    )
