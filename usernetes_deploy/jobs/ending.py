"""How a job that is a cluster hears of its end, and what it does then about pods.

The job watches its time limit itself. ``flux batch --signal`` would not do: it signals the brokers of all hosts, and to
those of all hosts but the first any signal means their end, with that of their nodes. Slurm's ``--signal=B:USR1@60``
reaches the script alone, and is welcome.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.node.keeper import Flag

SYSTEM_NAMESPACES = {"kube-system", "kube-public", "kube-node-lease"}
LIMIT_SECONDS = 30.0  # between looks at the time limit, which may be changed while the job runs
CANCELLED = 128 + signal.SIGTERM


@dataclass
class Signals:
    """Hears what the job is told: `ending` is set when there is time; without time `forget` is called, and we exit."""

    forget: Callable[[], object]
    ending: Flag = field(default_factory=Flag)
    _interrupt: bool = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[Signals]:
        """Listen while the block runs."""
        handlers = {signal.SIGUSR1: self._end, signal.SIGHUP: self._cancel, signal.SIGTERM: self._cancel}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def interrupting(self, seconds: float) -> Iterator[None]:
        """In the block a call to end, or the passing of `seconds`, is a `KeyboardInterrupt`, as Ctrl-C is to `add`."""
        timer = threading.Timer(max(0.0, seconds), os.kill, (os.getpid(), signal.SIGUSR1))
        timer.daemon = True
        if seconds < threading.TIMEOUT_MAX:
            timer.start()
        self._interrupt = True
        try:
            if self.ending.is_set():  # it was said a moment before
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupt = False
            timer.cancel()

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.ending.set()
        if self._interrupt:
            self._interrupt = False
            raise KeyboardInterrupt

    def _cancel(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # The batch system is ending the job's processes at this moment, nodes included: to stop those in order is
        # neither possible nor needed, and the seconds that phases take to be undone are not there.
        with contextlib.suppress(Exception):
            self.forget()
        os._exit(CANCELLED)


class TimeLimit:
    """The time limit of our job; `near` is asked often, `time_left` (seconds, or infinity) is not.

    A limit that is nearer than twice `notice` seconds from the beginning leaves half of its time to the job.
    """

    def __init__(self, time_left: Callable[[], float], notice: float) -> None:
        self._left = time_left
        left = self._left()
        self._notice = min(notice, left / 2)
        self._look = time.monotonic() + self._pause(left)

    def near(self) -> bool:
        """Whether the notice before the limit has begun."""
        if time.monotonic() < self._look:
            return False
        left = self._left()
        self._look = time.monotonic() + self._pause(left)
        return left <= self._notice

    def seconds(self) -> float:
        """How long it is to the notice; infinity without a limit."""
        return self._left() - self._notice

    def _pause(self, left: float) -> float:
        return max(0.5, min(LIMIT_SECONDS, left - self._notice))


def end_pods(api: Api, grace: float) -> list[str]:
    """Delete the pods of all but the system's namespaces, none to come again; returns those there after `grace` s."""
    try:
        for node in api.get("/api/v1/nodes")["items"]:
            patch = {"spec": {"unschedulable": True}}
            api.request("PATCH", f"/api/v1/nodes/{node['metadata']['name']}", patch, "application/merge-patch+json")
        for namespace in {pod[0] for pod in _pods(api)}:
            options = {"gracePeriodSeconds": int(grace), "propagationPolicy": "Background"}
            api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods", options)
        ends = time.monotonic() + grace
        while (left := _pods(api)) and time.monotonic() < ends:
            time.sleep(0.2)
        return sorted(f"{namespace}/{name}" for namespace, name in left)
    finally:
        api.close()


def _pods(api: Api) -> list[tuple[str, str]]:
    """Pods that were given to a node and have not ended: replacements that no node takes do not count."""
    items: list[dict[str, Any]] = api.get("/api/v1/pods")["items"]
    return [
        (pod["metadata"]["namespace"], pod["metadata"]["name"])
        for pod in items
        if pod["metadata"]["namespace"] not in SYSTEM_NAMESPACES
        and pod["spec"].get("nodeName")
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]
