"""How a job looks after the nodes of its cluster: which are lost, removed when the API says so too, and replaced.

Two witnesses are asked, since either may err: the batch system (a host, or the node on it, is gone) and the
Kubernetes API (the Node is NotReady, 50 s after its last sign of life). A node that both miss is taken out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usernetes_deploy.cluster.membership import Membership, State
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.phases.wait_ready import is_ready

API_SECONDS = 30.0  # between looks at the Node objects while all is well
RETRY_SECONDS = 60.0  # between looks for free hosts


@dataclass
class Caretaker:
    """Looks after one cluster; `state` is what it goes by, and where it writes down what it saw and did.

    `gone` says which members the batch system misses (node -> why), and of those it is given also which have ended by
    themselves. `remove` takes nodes out without their help; `replace` adds up to so many (None: nobody asked for that).
    """

    state: ClusterState
    gone: Callable[[Collection[str]], Mapping[str, str]]
    remove: Callable[[Sequence[str]], object]
    replace: Callable[[int], Sequence[str]] | None
    tell: Callable[[str], None]
    _suspects: set[str] = field(default_factory=set)
    _ask: float = 0.0
    _retry: float = 0.0

    def notices(self) -> bool:
        """Whether there is something to be done; asked often, so it costs little. Raises `UsernetesError`."""
        known = self.state.record().members
        if time.monotonic() >= self._ask:
            self._ask = time.monotonic() + API_SECONDS
            self._suspects = self._unready()
        waits = any(member.state is State.LOST for member in known)
        return bool(waits or self._suspects or self._may_replace(known) or self.gone(()))

    def act(self) -> None:
        """Write down who is lost, take out and replace what is to be. Raises `UsernetesError`."""
        first = self.state.record().members.first
        self._suspects = self._unready()
        lost = dict(self.gone(self._suspects))
        lost.pop(first.name, None)  # with the control plane the whole cluster is lost
        self._note(lost)
        out = [name for name in lost if name in self._suspects]
        if out:
            self.remove(out)
            self._suspects -= set(out)
        known = self.state.record().members
        if self.replace and self._may_replace(known):
            self._retry = time.monotonic() + RETRY_SECONDS
            try:
                came = self.replace(len(known.unreplaced()))
                self.tell(f"in place of lost nodes: {', '.join(came)}" if came else "no free host replaces a lost one")
            except UsernetesError as error:
                self.tell(f"a lost node could not be replaced: {error}")

    def drop(self) -> None:
        """Before the nodes are stopped: leave out those that nobody can stop any more."""
        record = self.state.record()
        record.members.note_lost(self.gone(()))
        lost = [member.name for member in record.members if member.state is State.LOST]
        record.members.move(lost, State.LEAVING)
        record.members.move(lost, State.LEFT)
        self.state.write(record.document())

    def _may_replace(self, known: Membership) -> bool:
        return bool(self.replace and known.unreplaced() and time.monotonic() >= self._retry)

    def _note(self, lost: Mapping[str, str]) -> None:
        with self.state.locked():
            record = self.state.record()
            fresh, back = record.members.note_lost(lost)
            if fresh or back:
                record.phase = record.members.phase()
                self.state.write(record.document())
        for member in fresh:
            self.tell(f"{member.name} is lost: {member.why}")
        for member in back:
            self.tell(f"{member.name} is back")

    def _unready(self) -> set[str]:
        """The members whose Node is NotReady or missing, and Nodes that another host added since."""
        members = {member.name for member in self.state.record().members.present()}
        api = self.state.api()
        try:
            items: list[dict[str, Any]] = api.get("/api/v1/nodes")["items"]
        finally:
            api.close()
        ready = {item["metadata"]["name"] for item in items if is_ready(item)}
        return (members - ready) | (ready - members)
