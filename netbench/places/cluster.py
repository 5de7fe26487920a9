"""Brings the cluster into the state a run needs: none, mesh or flannel; and says what it costs at rest."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netbench.launch import Seat
from netbench.places import idle
from netbench.places.base import Place, PlaceError
from netbench.places.hosts import HostPlace
from netbench.places.pod import Kubectl, PodPlace
from netbench.places.reach import on_seats
from netbench.places.usernetes import Managed
from netbench.plan import STATES, Plan

UP_LIMIT = 300.0


class Stage:
    """Holds the cluster's state and the places that are open in it.

    Without a way to make clusters in the plan a running one is taken as it is and left as it is. `idle_cost` is in
    percent of one core, by node.
    """

    def __init__(self, plan: Plan, seats: Sequence[Seat], mounts: Sequence[str], log: Path, say: Callable[[str], None]):
        self._plan, self._seats, self._mounts, self._log, self._say = plan, list(seats), mounts, log, say
        self._state: str | None = None
        self._places: dict[str, Place] = {}
        self._failures: dict[str, tuple[int, str]] = {}
        cluster = plan.cluster
        self._managed = Managed(cluster) if cluster.makes_clusters and not cluster.up else None
        self.idle_cost: dict[str, float | None] = {}
        self.versions: Mapping[str, str] = {}

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
            self._weigh(state)
        self._state = state

    def _down(self, network: str) -> None:
        argv = self._managed.down(network) if self._managed else self._plan.cluster.down
        self._command("down", argv, network)

    def _weigh(self, network: str) -> None:
        """Measure what the cluster costs each host before anything runs in it."""
        if not self._managed:
            return
        folders = self._managed.directories(network)
        self.versions = self._managed.versions(network)
        for seat in self._seats:
            if seat.name in folders:
                self.idle_cost[seat.name] = idle.parse(on_seats([seat], idle.script(folders[seat.name]))[seat.name])

    def _uses(self, network: str) -> bool:
        named = {place for c in self._plan.cases for place in (c.places or self._plan.places)}
        return any(STATES[place] == network for place in named)

    def _make(self, name: str, state: str) -> Place:
        if not name.startswith("pod-"):
            return HostPlace(name, self._seats)
        cluster = self._plan.cluster
        if self._managed:
            program, config = self._managed.kubectl(state), self._managed.kubeconfig(state)
        else:
            program = tuple(part.format(network=state) for part in cluster.kubectl)
            config = (cluster.kubeconfig or "").format(network=state)
        kubectl = Kubectl((*program, *(("--kubeconfig", config) if config else ()), "-n", cluster.namespace))
        return PodPlace(name, self._seats, kubectl, image=cluster.image, mounts=self._mounts)

    def _command(self, what: str, argv: Sequence[str], state: str) -> None:
        if not argv:
            return
        self._say(f"cluster {what} ({state})")
        filled = [part.format(network=state) for part in argv]
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
