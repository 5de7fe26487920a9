"""Simulated hosts for tests and scale runs: honest delays, failures and stragglers, and every call written down.

Each host answers like the node program does (``start``, ``status``, ``stop``, ``clean``, ``stage``), from a little
state of its own; anything else prints nothing and succeeds, unless `answers` says otherwise.

>>> from usernetes_deploy.launch.base import on_all
>>> fake = FakeLauncher(3, behaviours={"node1": Behaviour(down="No route to host")})
>>> outcome = on_all(fake.hosts(), lambda host: fake.run(host, ["true"]).returncode)
>>> outcome.results, {name: str(error) for name, error in outcome.failures.items()}
({'node0': 0, 'node2': 0}, {'node1': 'node1: connect: No route to host'})
"""

from __future__ import annotations

import json
import random
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Host, Wish

Answer = Callable[[Host, Sequence[str], bytes], Completed]


@dataclass(frozen=True)
class Behaviour:
    """How one host answers: after `delay` seconds, give or take `jitter` of it.

    `down` is the reason why it cannot be reached, from call number `cut_after` on (0: from the first); a `hanging`
    host never answers, so that only the caller's own time-out ends the call.
    """

    delay: float = 0.0
    jitter: float = 0.1
    down: str = ""
    cut_after: int = 0
    hanging: bool = False
    returncode: int = 0
    stderr: str = ""


@dataclass(frozen=True)
class Call:
    """One call as it was made: ``run``, ``send`` or ``start``; `seconds` is what the host took."""

    verb: str
    host: str
    argv: Sequence[str]
    stdin_bytes: int
    seconds: float


@dataclass
class _Node:
    calls: int = 0
    running: Mapping[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)


class FakeLauncher:
    """`count` simulated hosts; `default` is how they behave, `behaviours` the exceptions by host name.

    `answers` maps a word of the command to what answers it: ``{"probe": lambda host, argv, stdin: Completed(...)}``;
    the first word of argv that is a key decides. Delays come from `seed`, so a run can be repeated.
    """

    name = "fake"
    shares_host = False
    ends_with_host = False

    def __init__(
        self,
        count: int,
        *,
        default: Behaviour | None = None,
        behaviours: Mapping[str, Behaviour] | None = None,
        answers: Mapping[str, Answer] | None = None,
        seed: int = 0,
    ) -> None:
        if count < 1:
            raise UsageError(f"a cluster needs at least 1 node, got {count}")
        self._hosts = tuple(
            Host(f"node{index}", f"172.{16 + (index >> 16)}.{index >> 8 & 255}.{index & 255}", str(index))
            for index in range(count)
        )
        self._default = default or Behaviour()
        self._behaviours = dict(behaviours or {})
        verbs = ("start", "status", "stop", "clean", "stage")
        self._answers: dict[str, Answer] = {**dict.fromkeys(verbs, self._answer), **(answers or {})}
        self._random = random.Random(seed)  # noqa: S311  delays, not keys
        self._nodes = {host.name: _Node() for host in self._hosts}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.calls: list[Call] = []

    def hosts(self) -> Sequence[Host]:
        """``node0`` to ``node<count-1>``."""
        return self._hosts

    def node_program(self, host: Host) -> Sequence[str]:  # noqa: ARG002  the same everywhere
        """A command that exists nowhere: ``("python3", "node.pyz")``."""
        return ("python3", "node.pyz")

    def run(self, host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> Completed:
        """Answer after the host's delay; `TimedOut` when that is longer than `timeout` seconds."""
        behaviour = self._take_time("run", host, argv, len(stdin), timeout)
        if behaviour.returncode:
            return Completed(argv, behaviour.returncode, "", behaviour.stderr)
        answer = next((self._answers[word] for word in argv if word in self._answers), None)
        return answer(host, argv, stdin) if answer else Completed(argv, 0, "", "")

    def grow(self, wish: Wish, taken: Sequence[str]) -> Sequence[Host]:
        """Those of the simulated hosts that are no nodes yet."""
        return [host for host in self._hosts if host.name not in taken][: wish.nodes or 1]

    def release(self, names: Sequence[str]) -> None:
        """The simulated hosts stay."""

    def stream(self, host: Host, argv: Sequence[str]) -> int:
        """Print what `run` answers."""
        done = self.run(host, argv)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode

    def send(self, host: Host, source: PurePath, target: str, *, timeout: float = 600) -> None:
        """Remember that `target` is there; nothing is copied."""
        behaviour = self._take_time("send", host, [str(source), target], 0, timeout)
        if behaviour.returncode:
            raise UsernetesError(behaviour.stderr, node=host.name, tried=f"send {source} to {target}")
        self._nodes[host.name].files[target] = str(source)

    def start(self, host: Host, argv: Sequence[str], *, stdin: bytes) -> Mapping[str, Any]:
        """Note that the node runs, and return its handle."""
        behaviour = self._take_time("start", host, argv, len(stdin), 60)
        if behaviour.returncode:
            raise UsernetesError(behaviour.stderr, node=host.name, tried=shlex.join(argv))
        node = self._nodes[host.name]
        node.running = {"pid": 1000 + int(host.where), "start_time": int(time.monotonic() * 100)}
        return node.running

    def close(self) -> None:
        """Let the hanging calls go."""
        self._closed.set()

    def to_state(self) -> Mapping[str, Any]:
        """The launcher's kind and size; its nodes end with the process, so there is no way back."""
        return {"launcher": self.name, "count": len(self._hosts)}

    def running(self) -> list[str]:
        """The names of the hosts whose node runs."""
        return [name for name, node in self._nodes.items() if node.running]

    def _take_time(self, verb: str, host: Host, argv: Sequence[str], size: int, timeout: float) -> Behaviour:
        behaviour = self._behaviours.get(host.name, self._default)
        node = self._nodes[host.name]
        with self._lock:
            node.calls += 1
            seconds = behaviour.delay * (1 + behaviour.jitter * (2 * self._random.random() - 1))
            self.calls.append(Call(verb, host.name, tuple(argv), size, min(seconds, timeout)))
        if behaviour.hanging or seconds > timeout:
            self._closed.wait(timeout)
            raise TimedOut(f"not done after {timeout:g} s", node=host.name, tried=shlex.join(argv))
        if seconds > 0:
            self._closed.wait(seconds)
        if behaviour.down and node.calls > behaviour.cut_after:
            what = "connect" if not behaviour.cut_after else shlex.join(argv)
            raise UsernetesError(behaviour.down, node=host.name, tried=what)
        return behaviour

    def _answer(self, host: Host, argv: Sequence[str], stdin: bytes) -> Completed:  # noqa: ARG002
        node = self._nodes[host.name]
        if "start" in argv:
            node.running = {"pid": 1000 + int(host.where), "start_time": int(time.monotonic() * 100)}
        elif "stop" in argv or "clean" in argv:
            node.running = None
        elif "stage" in argv:
            return Completed(argv, 0, json.dumps({"staged": True}), "")
        state = "running" if node.running else "absent"
        return Completed(argv, 0, json.dumps({"state": state, **(node.running or {})}), "")
