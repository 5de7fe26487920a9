"""Brings the cluster into the state a run needs: none, mesh or flannel; and says what it costs at rest."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from netbench.places import idle
from netbench.places.base import Place, PlaceError
from netbench.places.hosts import HostPlace
from netbench.places.mpijob import MpiJobPlace
from netbench.places.pod import Kubectl, PodPlace
from netbench.places.reach import PROBE_LIMIT, on_seats
from netbench.places.usernetes import Managed
from netbench.plan.document import STATES, Plan
from netbench.start.mpi import Seat

UP_LIMIT = 300.0


class Stage:
    """Holds the cluster's state and the places that are open in it.

    Without a way to make clusters in the plan a running one is taken as it is and left as it is. `idle_cost` is in
    percent of one core, by node.
    """

    def __init__(self, plan: Plan, seats: Sequence[Seat], mounts: Sequence[str], log: Path, say: Callable[[str], None]):
        self._plan, self.seats, self._mounts, self._log, self._say = plan, list(seats), mounts, log, say
        self._state: str | None = None
        self._places: dict[str, Place] = {}
        self._failures: dict[str, tuple[int, str]] = {}
        cluster = plan.cluster
        self._managed = Managed(cluster) if cluster.makes_clusters and not cluster.up else None
        self.idle_cost: dict[str, float | None] = {}
        self.versions: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()

    def require(self, names: Collection[str]) -> None:
        """Raise `UsageError` where a cluster that is there already lacks what one of the places `names` needs."""
        if self._plan.cluster.makes_clusters:
            return
        for name in sorted(names):
            place = self._make(name, STATES[name])
            if isinstance(place, MpiJobPlace):
                place.require_operator()

    def place(self, name: str) -> Place:
        """The place `name`, open, with the cluster in its state. Raises `PlaceError`.

        A state that could not be reached twice in a row is not tried again: its runs fail with the same reason.
        """
        state = STATES[name]
        count, reason = self._failures.get(name, (0, ""))
        if count >= 2:
            raise PlaceError(f"given up after {count} attempts: {reason}")
        try:
            self._ensure(state)
            place = self._places.get(name) or self._make(name, state)
            self._places[name] = place
            place.open()
        except PlaceError as error:
            self._failures[name] = (count + 1, str(error))
            raise
        self._failures.pop(name, None)
        return place

    def close(self) -> None:
        """Close all places, and take the cluster down if it was brought up here."""
        self.idle_cost.clear()
        self.versions, self.notes = {}, ()
        for place in self._places.values():
            place.close()
        self._places.clear()
        if self._state not in (None, "none") and self._plan.cluster.makes_clusters:
            self._down(self._state or "")
        self._state = None

    def _ensure(self, state: str) -> None:
        if state == self._state:
            return
        if not self._plan.cluster.makes_clusters:
            self._state = state
            if state != "none":
                self._describe(state)
            return
        self.close()
        if state == "none":
            # whatever an interrupted campaign left; `down` of nothing is no error
            for network in dict.fromkeys(s for s in STATES.values() if s != "none"):
                if self._uses(network):
                    self._down(network)
        else:
            if self._managed:
                self._down(state)
            self._command("up", self._managed.up(state) if self._managed else self._plan.cluster.up, state)
            self._state = state
            time.sleep(self._plan.cluster.settle)
            self._describe(state)
        self._state = state

    def _down(self, network: str) -> None:
        argv = self._managed.down(network) if self._managed else self._plan.cluster.down
        self._command("down", argv, network)

    def _describe(self, network: str) -> None:
        """What records say of the cluster: versions, and what it costs each host before anything runs in it."""
        self.notes, self.versions = (), self._kubectl(network).version()
        if not self._managed:
            self._unweighed("the cluster was not made by this campaign")
            return
        self.versions |= self._managed.versions(network)
        seconds = self._plan.cluster.weigh
        if not seconds:
            self._unweighed("cluster.weigh is 0")
            return
        folders = self._managed.directories(network)
        known = [seat for seat in self.seats if seat.name in folders]
        scripts = {seat.name: idle.script(folders[seat.name], seconds) for seat in known}
        answers = on_seats(known, scripts, seconds + PROBE_LIMIT)
        self.idle_cost.update({name: idle.parse(text, seconds) for name, text in answers.items()})
        unknown = [seat.name for seat in self.seats if self.idle_cost.get(seat.name) is None]
        if unknown:
            self._unweighed(f"no process of the cluster was found on {', '.join(unknown)}")

    def _unweighed(self, why: str) -> None:
        self.notes = (f"what the cluster costs at rest is not recorded: {why}",)

    def _uses(self, network: str) -> bool:
        named = {place for c in self._plan.cases for place in (c.places or self._plan.places)}
        return any(STATES[place] == network for place in named)

    def _make(self, name: str, state: str) -> Place:
        if name.startswith("bare-metal"):
            return HostPlace(name, self.seats)
        kind = MpiJobPlace if name.startswith("mpijob-") else PodPlace
        return kind(name, self.seats, self._kubectl(state), image=self._plan.cluster.image, mounts=self._mounts)

    def _kubectl(self, state: str) -> Kubectl:
        cluster = self._plan.cluster
        if self._managed:
            program, config = self._managed.kubectl(state), self._managed.kubeconfig(state)
        else:
            program = tuple(for_network(part, state) for part in cluster.kubectl)
            config = for_network(cluster.kubeconfig or "", state)
        return Kubectl((*program, *(("--kubeconfig", config) if config else ()), "-n", cluster.namespace))

    def _command(self, what: str, argv: Sequence[str], state: str) -> None:
        if not argv:
            return
        self._say(f"cluster {what} ({state})")
        filled = [for_network(part, state) for part in argv]
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(filled)}\n")
            log.flush()
            try:
                done = subprocess.run(
                    filled, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=UP_LIMIT, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise PlaceError(f"cluster {what} did not end within {UP_LIMIT:g} s; see {self._log}") from error
            except OSError as error:
                raise PlaceError(f"cluster {what}: {error}") from error
        if done.returncode:
            tail = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
            raise PlaceError(f"cluster {what} failed with exit code {done.returncode}: {tail}")


def for_network(word: str, network: str) -> str:
    """A word of the plan's commands, with the network's name in it; other braces are the command's own.

    >>> for_network("echo ${HOME} {network}", "mesh")
    'echo ${HOME} mesh'
    """
    return word.replace("{network}", network)
