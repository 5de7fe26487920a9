"""The members of a cluster, the state each is in, and the one table of moves from state to state.

A member is planned when its host is known, placed when it is decided where its node goes there, started when the node
is told to start, ready when it was seen Ready. A member may be given up (within ``--min-nodes``), be lost (it is gone
without having been told to), be stopped with its folder kept (and started again), and be on its way out (leaving, then
left). Whoever moves a member writes that down before acting on it, so that the record never knows less than what may be
on a host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import Host


class State(StrEnum):
    """Where a member is in its life."""

    PLANNED = "planned"  # nothing of it is on its host
    PLACED = "placed"  # nothing of it is on its host, but what is there for it is chosen: folder, ports
    STARTED = "started"  # told to start: from here on something of it may be on its host
    READY = "ready"
    GIVEN_UP = "given-up"  # with a place: something of it may be there
    LOST = "lost"
    STOPPED = "stopped"  # told to end with its folder kept: from here on its node may be gone; `start` brings it back
    LEAVING = "leaving"
    LEFT = "left"  # kept only where something of it may be left, or where it was lost


MOVES: Mapping[State, Collection[State]] = {
    State.PLANNED: {State.PLACED, State.GIVEN_UP},
    State.PLACED: {State.STARTED, State.GIVEN_UP},
    State.STARTED: {State.READY, State.GIVEN_UP, State.LOST, State.STOPPED, State.LEAVING},
    State.READY: {State.LOST, State.STOPPED, State.LEAVING},
    State.GIVEN_UP: {State.LOST, State.STOPPED, State.LEAVING},
    State.LOST: {State.READY, State.STOPPED, State.LEAVING},
    State.STOPPED: {State.STARTED, State.GIVEN_UP, State.LEAVING},
    State.LEAVING: {State.LEFT},
    State.LEFT: set(),
}
NOTHING_THERE = (State.PLANNED, State.PLACED)
UP = (State.STARTED, State.READY)


@dataclass(frozen=True)
class Place:
    """Where a node goes on its host: decided by `check_nodes` from the facts."""

    address: str
    interface: str
    why: str
    mtu: int
    base: Path  # the node-local folder that holds node folders and the staged bundle
    node_dir: Path
    outer: str
    cgroups: str  # delegated | none
    manager: str  # where the user's systemd listens, when it has to be asked for a scope: a delegated cgroup; else ""
    nameservers: tuple[str, ...]
    mesh_port: int
    api_port: int | None


@dataclass(frozen=True)
class Member:
    """One node of a cluster; `index` 0 carries the control plane. Times are ISO 8601, UTC; "" is never."""

    name: str
    index: int
    host: Host
    state: State = State.PLANNED
    place: Place | None = None
    public_key: str = ""
    handle: Mapping[str, Any] = field(default_factory=dict)  # the launcher's own, of the node it started
    since: str = ""  # in its state
    why: str = ""  # it was given up, lost or removed without its help
    lost: str = ""  # when it was seen to be lost, for good or not
    silent: bool = False  # it left without an answer: something of it may still be on its host
    replaced_by: str = ""
    certificates_end: str = ""  # of those that it was handed last

    @property
    def at(self) -> Place:
        """Its place; raises `UsernetesError` for a member that has none."""
        if self.place is None:
            raise UsernetesError(f"it is {self.state} and has no place on its host", node=self.name)
        return self.place

    @property
    def directory(self) -> str:
        """Its node's folder on its host."""
        return str(self.at.node_dir)


def is_present(member: Member) -> bool:
    """Whether it has, or is to have, a node on its host."""
    return member.place is not None and member.state is not State.LEFT


def may_be_there(member: Member) -> bool:
    """Whether something of it may be on its host."""
    return member.silent or (is_present(member) and member.state not in NOTHING_THERE)


class Membership:
    """All members of a cluster, in the order of their numbers.

    >>> members = Membership([Member("node0", 0, Host("node0"))])
    >>> members.move("node0", State.READY)
    Traceback (most recent call last):
    usernetes_deploy.errors.UsernetesError: node0: it is planned and cannot become ready
    """

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._members = {member.name: member for member in members}

    def __iter__(self) -> Iterator[Member]:
        return iter(sorted(self._members.values(), key=lambda member: (member.index, member.name)))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def join(self, newcomers: Iterable[Member]) -> list[Member]:
        """Count further members; returns those of the same names that they stand for from now on.

        Raises `UsageError` for names of members that may have something on their host.
        """
        newcomers = list(newcomers)
        twice = [one.name for one in newcomers if one.name in self and may_be_there(self[one.name])]
        if twice:
            raise UsageError(f"already nodes of the cluster: {', '.join(twice)}")
        before = [self[one.name] for one in newcomers if one.name in self]
        self._members.update({one.name: one for one in newcomers})
        return before

    def restore(self, before: Iterable[Member]) -> None:
        """Take back those whose place newcomers had taken that are forgotten again."""
        for member in before:
            if member.name not in self and member.state not in NOTHING_THERE:
                self._members[member.name] = member

    def move(self, names: str | Iterable[str], state: State, why: str = "", **fields: Any) -> None:
        """Bring members into a state, with other fields of theirs; raises `UsernetesError` when that is no legal move.

        Members that are in it already keep it, and since when.
        """
        members = [self._members[name] for name in ([names] if isinstance(names, str) else names)]
        for member in members:
            if state not in MOVES[member.state] and state is not member.state:
                raise UsernetesError(f"it is {member.state} and cannot become {state}", node=member.name)
        for member in members:
            changes: dict[str, Any] = {"state": state, "why": why or member.why, **fields}
            if state is not member.state:
                changes["since"] = now()
                if state is State.GIVEN_UP and member.state in NOTHING_THERE:
                    changes["place"] = None  # nothing of it is there, and its number is free
                if state is State.LOST:
                    changes["lost"] = changes["since"]
            self._members[member.name] = dataclasses.replace(member, **changes)

    def update(self, name: str, **fields: Any) -> None:
        """Change fields of a member other than its state."""
        self._members[name] = dataclasses.replace(self._members[name], **fields)

    def forget(self, names: Iterable[str]) -> None:
        """Count members no longer; raises `UsernetesError` for one that may have something on its host."""
        for name in names:
            member = self._members[name]
            if may_be_there(member):
                raise UsernetesError(f"it is {member.state}, and something of it may be on its host", node=name)
            del self._members[name]

    # who is meant ------------------------------------------------------------------------------------

    @property
    def first(self) -> Member:
        """The one that carries the control plane; it leaves last of all, so nobody else ever has its number."""
        for member in self:
            if member.index == 0:
                return member
        raise UsernetesError("no member carries the control plane")

    def named(self, name: str) -> Member:
        """The node of this name; raises `UsageError` that says which there are."""
        if name in self and is_present(self[name]):
            return self[name]
        raise UsageError(
            f"the cluster has no node {name}; its nodes are {', '.join(one.name for one in self.present())}"
        )

    def present(self) -> list[Member]:
        """Those that have, or are to have, a node on their host."""
        return [member for member in self if is_present(member)]

    def running(self) -> list[Member]:
        """Those that are expected to answer."""
        return [member for member in self if member.state in UP]

    def to_stop(self) -> list[Member]:
        """Those that may have something on their host."""
        return [member for member in self if is_present(member) and may_be_there(member)]

    def peers_of(self, names: Collection[str] = ()) -> list[Member]:
        """Those that the nodes called `names` meet in the network: all that may run and stay, but themselves."""
        stay = (*UP, State.GIVEN_UP, State.LOST)
        return [member for member in self.present() if member.state in stay and member.name not in names]

    def silent(self) -> list[Member]:
        """Those that left without an answer: something of them may still be on their host."""
        return [member for member in self if member.silent]

    def given_up(self) -> dict[str, str]:
        """Who was given up, and why."""
        return {member.name: member.why for member in self if member.state is State.GIVEN_UP}

    def free_numbers(self) -> Iterator[int]:
        """Numbers for further members, the lowest first, without end."""
        taken = {member.index for member in self.present()}
        number = 0
        while True:
            if number not in taken:
                yield number
            number += 1

    # what was lost -----------------------------------------------------------------------------------

    def note_lost(self, lost: Mapping[str, str]) -> tuple[list[Member], list[Member]]:
        """Write down who is lost (name -> why); returns those of whom that is new, and those that are back."""
        known = (*UP, State.GIVEN_UP)
        fresh = [member for member in self.present() if member.name in lost and member.state in known]
        back = [member for member in self if member.state is State.LOST and member.name not in lost]
        for member in fresh:
            self.move(member.name, State.LOST, lost[member.name])
        for member in back:
            self.move(member.name, State.READY, lost="")
            self.update(member.name, why="")
        return [self[member.name] for member in fresh], [self[member.name] for member in back]

    def unreplaced(self) -> list[Member]:
        """Those that were lost and removed, and that nobody has replaced yet, the longest gone first."""
        gone = [one for one in self if one.state is State.LEFT and one.lost and not one.replaced_by]
        return sorted(gone, key=lambda member: member.since)

    def replace_lost(self, newcomers: Iterable[str]) -> None:
        """Have each newcomer stand for one that was lost before."""
        for member, name in zip(self.unreplaced(), newcomers, strict=False):
            self.update(member.name, replaced_by=name, since=now())

    def phase(self) -> str:
        """What people are told of the whole: running, stopped, or degraded when nodes were given up or lost."""
        if any(member.state is State.STOPPED for member in self):
            return "stopped"
        missed = (State.GIVEN_UP, State.LOST, State.LEAVING)
        return "degraded" if self.unreplaced() or any(member.state in missed for member in self) else "running"


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
