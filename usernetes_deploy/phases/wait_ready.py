"""Wait until the API answers and every node is Ready; a node that fails says why at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from usernetes_deploy.api import Api, is_momentary
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.nodes import ask_nodes
from usernetes_deploy.errors import NodeFailures, TimedOut, UsernetesError
from usernetes_deploy.phases.check_network import pause_after

LOOK_AFTER = 3.0  # seconds between looks at what the nodes say of themselves
DEATHS = 3  # so often in a row a component may end soon after its start, and then the node is given up


class WaitReady:
    """Asks the API ten times a second, less often for long answers; looks at the nodes themselves now and then.

    `meanwhile` makes something of the change that is called with the API and the names of the nodes it knows, at every
    look: so what comes next can begin on the nodes that are there.
    """

    title = "wait for Ready"

    def __init__(self, meanwhile: Callable[[BringUp], Callable[[Api, Sequence[str]], object]]) -> None:
        self.meanwhile = meanwhile

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Raise `TimedOut` with what is still missing, or `NodeFailures` with what the nodes said."""
        api = up.api()
        try:
            wait = Wait(up, api, self.meanwhile(up))
            while not wait.is_over():
                time.sleep(wait.pause)
        finally:
            api.close()
        up.members.move(sorted(wait.ready), State.READY)
        up.members.move(sorted(wait.missing), State.GIVEN_UP, f"not Ready after {up.deadline:g} s")
        up.save()
        given_up = len(up.hosts) - len(up.newcomers)
        return f"{len(wait.ready)} Ready" + (f", {given_up} given up" if given_up else "")

    def undo(self, up: BringUp) -> None:
        """Starting is what is undone."""


class Wait:
    """One wait for the nodes that come with a change: who is wanted, and who is Ready so far."""

    def __init__(self, up: BringUp, api: Api, meanwhile: Callable[[Api, Sequence[str]], object]) -> None:
        self._up, self._api, self._meanwhile = up, api, meanwhile
        self.wanted = {member.name for member in up.newcomers}
        self.ready: set[str] = set()
        self.pause = 0.0  # seconds until the next look
        self._least = (0 if up.others else up.spec.min_nodes) or len(self.wanted)
        self._began = time.monotonic()
        self._next_look = self._began + LOOK_AFTER  # at what the nodes say of themselves

    @property
    def missing(self) -> set[str]:
        """Who is wanted and not Ready."""
        return self.wanted - self.ready

    def is_over(self) -> bool:
        """Look once; whether all are Ready, or enough of them when the time is up. Raises as `WaitReady.apply`."""
        asked = time.monotonic()
        answers = self._look()
        # Nodes may be Ready while the server still writes its first roles; the next phase waits for those.
        if not self.missing and (answers or self._up.wait):
            return True
        if asked - self._began > self._up.deadline:
            if self._can_do_without(self.missing):
                return True
            raise TimedOut(words_of_missing(self._up, self.missing, asked - self._began))
        if asked > self._next_look:
            failed, now = failures(self._up, self.missing), time.monotonic()
            # On a slow host a look takes seconds of its only CPUs: at most a fifth of the time is for looks.
            self._next_look = now + max(LOOK_AFTER, 4 * (now - asked))
            self._give_up(failed)
        self.pause = pause_after(time.monotonic() - asked)
        return False

    def _look(self) -> bool:
        """Ask the API who is Ready; whether it calls itself ready."""
        answers = self._api.ready()
        try:
            known = self._api.get("/api/v1/nodes")["items"]
            self.ready = ready_nodes(known, self.wanted, self._up.since)
            if answers:
                self._meanwhile(self._api, [node["metadata"]["name"] for node in known])
        except UsernetesError as error:
            if not is_momentary(error):
                raise
        return answers

    def _can_do_without(self, names: Collection[str]) -> bool:
        return len(self.wanted) - len(names) >= self._least and self._up.control_plane not in names

    def _give_up(self, failed: Mapping[str, BaseException]) -> None:
        """Do without nodes that will not be Ready; raises `NodeFailures` where that cannot be."""
        if failed and not self._can_do_without(failed):
            raise NodeFailures(failed)
        for name, why in failed.items():
            self._up.members.move(name, State.GIVEN_UP, str(why))
        self.wanted -= set(failed)


def words_of_missing(up: BringUp, names: set[str], waited: float) -> str:
    """Who is not Ready after so many seconds, each with what its node says."""
    outcome = ask_nodes(up.launcher, [member for member in up.newcomers if member.name in names])
    lines = [f"after {waited:.0f} s not Ready: {', '.join(sorted(names))}"]
    for name in sorted(names):
        answer = outcome.results.get(name)
        lines.append(f"  {name}: {explain(answer) if answer else outcome.failures.get(name)}")
    return "\n".join(lines)


def ready_nodes(known: Iterable[Mapping[str, Any]], wanted: set[str], since: float = 0.0) -> set[str]:
    """The names of the wanted nodes that are Ready."""
    return {item["metadata"]["name"] for item in known if is_ready(item, since)} & wanted


def is_ready(node: Mapping[str, Any], since: float = 0.0) -> bool:
    """Whether a Node object is Ready; what its kubelet wrote before `since` (seconds since the epoch) does not count.

    >>> condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": "1970-01-01T00:01:00Z"}
    >>> is_ready({"status": {"conditions": [condition]}}, 60), is_ready({"status": {"conditions": [condition]}}, 61)
    (True, False)
    """
    return any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and (not since or datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= int(since))
        for condition in node.get("status", {}).get("conditions", ())
    )


def failures(up: BringUp, names: set[str]) -> dict[str, BaseException]:
    """Nodes that are gone or say that they cannot start."""
    members = [member for member in up.newcomers if member.name in names]
    outcome = ask_nodes(up.launcher, members, brief=True)
    found: dict[str, BaseException] = {}
    for name, answer in outcome.results.items():
        keeper, node = answer.get("keeper"), answer.get("node") or {}
        gone = not keeper or not keeper.get("alive") or keeper.get("restarts", 0) > 1
        if gone or node.get("problems") or dying(node):
            found[name] = UsernetesError(explain(answer), node=name, tried="start the node")
    return found


def dying(node: Mapping[str, Any]) -> list[str]:
    """The components of a node that end again and again, each with its own last words.

    >>> item = {"name": "kubelet", "deaths": 3, "lastExit": "exit code 1", "lastWords": "unknown flag: --on"}
    >>> dying({"components": [item]})
    ['kubelet ended 3 times in a row, last: exit code 1: unknown flag: --on']
    """
    return [
        f"{item['name']} ended {item['deaths']} times in a row, last: {how_last(item)}"
        for item in node.get("components", ())
        if item.get("deaths", 0) >= DEATHS
    ]


def how_last(item: Mapping[str, Any]) -> str:
    """How a component ended last, with its own last words."""
    return ": ".join(str(words) for words in (item["lastExit"], item.get("lastWords")) if words)


def explain(answer: Mapping[str, Any]) -> str:
    """What a node's own words say about why it is not ready, most telling first.

    >>> explain({"keeper": None, "node": None, "log": []})
    'no keeper is running'
    """
    keeper, node = answer.get("keeper"), answer.get("node") or {}
    if node.get("problems"):
        return "; ".join(node["problems"])
    if dying(node):
        return "; ".join(dying(node))
    words = " | ".join(answer.get("log") or [])
    if not keeper or not keeper.get("alive"):
        return f"no keeper is running{': ' + words if words else ''}"
    if keeper.get("lastExit"):
        return f"its process tree ended ({keeper['lastExit']}){': ' + words if words else ''}"
    waiting = [
        f"{item['name']} {item['state']}" + (f" ({how_last(item)})" if item.get("lastExit") else "")
        for item in node.get("components", ())
        if item["state"] != "running"
    ]
    return ", ".join(waiting) or "all its components run"
