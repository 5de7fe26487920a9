"""What a Flux job does that is a cluster: bring it up, announce it, run the workflow, and end in time.

It ends in one of two ways. Some time before the time limit, or when `usernetes down` asks for it from outside (by
SIGUSR1), there is time: the workflow is told, pods get their grace period, logs are collected. With SIGHUP or SIGTERM
(``flux cancel``) there is none.

The job watches its time limit itself. ``flux batch --signal`` would not do: it signals the brokers of all hosts, and to
those of all hosts but the first any signal means their end, with that of their nodes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.errors import Secret, UsageError, UsernetesError
from usernetes_deploy.launch import flux_jobs
from usernetes_deploy.launch.flux_instance import Instance, Job
from usernetes_deploy.node.keeper import die_with_parent
from usernetes_deploy.state import ClusterState

SESSION = "session.json"
FILES = ("cluster.json", "kubeconfig", "secrets.json", SESSION)
SYSTEM_NAMESPACES = {"kube-system", "kube-public", "kube-node-lease"}
LOOK_SECONDS = 2.0
LIMIT_SECONDS = 30.0  # between looks at the time limit, which may be changed while the job runs
CANCELLED = 128 + signal.SIGTERM


@dataclass
class Signals:
    """Hears what the job is told: `ending` is set when there is time; without time `forget` is called, and we exit."""

    forget: Callable[[], object]
    ending: threading.Event = field(default_factory=threading.Event)

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

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.ending.set()

    def _cancel(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # The brokers are ending at this moment and take the nodes along: to stop those in order is neither possible
        # nor needed, and the seconds that phases take to be undone are not there.
        with contextlib.suppress(Exception):
            self.forget()
        os._exit(CANCELLED)


class TimeLimit:
    """The time limit of the job that `instance` is; `near` is asked often, Flux is not.

    A limit that is nearer than twice `notice` seconds from the beginning leaves half of its time to the job.
    """

    def __init__(self, instance: Instance, notice: float) -> None:
        self._instance = instance
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

    def _pause(self, left: float) -> float:
        return max(0.5, min(LIMIT_SECONDS, left - self._notice))

    def _left(self) -> float:
        try:
            return float(self._instance.command("job", "timeleft"))  # seconds, or infinity
        except (UsernetesError, ValueError):
            return math.inf


@dataclass
class Session:
    """One cluster in one job.

    `up` brings it up and returns the kubeconfig's path, `down` takes it down and keeps the nodes' logs in the folder
    it is given; `grace` is the seconds that workflow and pods get each at the end, which begins `notice` seconds
    before the time limit.
    """

    state: ClusterState
    up: Callable[[], Path]
    down: Callable[[Path | None], object]
    tell: Callable[[str], None]
    instance: Instance = field(default_factory=Instance)
    grace: float = 20.0
    notice: float = 60.0
    logs: Path | None = None
    path: str = ""

    def run(self, command: Sequence[str] = ()) -> int:
        """Live as long as the workflow `command`, or without one until the job is told to end.

        Returns the exit code of the workflow (128 + signal when a signal ended it), or 0. Raises what `up` raises.
        """
        parent, job = flux_jobs.own_job(self.instance)

        def forget() -> None:
            self._end_own_node()
            self.state.remove()
            flux_jobs.withdraw(parent, job, timeout=1)

        with Signals(forget).heard() as signals:
            flux_jobs.announce(parent, job, "starting")
            try:
                kubeconfig = self.up()
                limit = TimeLimit(self.instance, self.notice)
                self.state.write_secret(SESSION, Secret(json.dumps({"pid": os.getpid()})))
                flux_jobs.publish(parent, job, self._record())
                flux_jobs.announce(parent, job, "ready")
                self.tell(f"job {job.f58}: cluster {self.state.name} is ready")
                code = self._workflow(command, kubeconfig, signals, limit) if command else self._hold(signals, limit)
            except BaseException:
                with contextlib.suppress(UsernetesError):
                    flux_jobs.announce(parent, job, "failed")
                raise
            finally:
                self._end(parent, job, signals)
        return code

    def _record(self) -> Mapping[str, Secret]:
        return {name: self.state.read_secret(name) for name in FILES if (self.state.directory / name).exists()}

    def _hold(self, signals: Signals, limit: TimeLimit) -> int:
        while not signals.ending.wait(LOOK_SECONDS):
            if limit.near():
                signals.ending.set()
            if not self.state.exists():
                self.tell("the cluster was taken down")
                break
        return 0

    def _workflow(self, command: Sequence[str], kubeconfig: Path, signals: Signals, limit: TimeLimit) -> int:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "USERNETES_CLUSTER": self.state.name}
        if self.path:
            environment["PATH"] = f"{self.path}:{environment.get('PATH', '/usr/bin:/bin')}"
        try:
            # A group of its own, to be signalled as a whole; the broker's own clean-up does not reach it then.
            process = subprocess.Popen(command, env=environment, process_group=0, preexec_fn=die_with_parent)  # noqa: PLW1509
        except OSError as error:
            raise UsageError(f"{command[0]}: {error.strerror}", tried="start the workflow") from None
        try:
            told = 0.0
            while (code := _wait(process, 0.1)) is None:
                if limit.near():
                    signals.ending.set()
                if signals.ending.is_set() and not told:
                    told = time.monotonic()
                    self.tell(f"the allocation ends: the workflow is told (SIGTERM), and has {self.grace:g} s")
                    _signal_group(process, signal.SIGTERM)
                elif told and time.monotonic() - told > self.grace:
                    _signal_group(process, signal.SIGKILL)
        finally:
            _signal_group(process, signal.SIGKILL)  # what it left in the background
            process.wait()
        return 128 - code if code < 0 else code

    def _end(self, parent: Instance, job: Job, signals: Signals) -> None:
        if self.state.exists():
            if signals.ending.is_set():
                flux_jobs.announce(parent, job, "ending")
                self._end_pods()
            self.down(self.logs)
            if self.logs and self.logs.is_dir():
                self.tell(f"the nodes' logs are in {self.logs}")
        with contextlib.suppress(UsernetesError):
            flux_jobs.withdraw(parent, job)

    def _end_own_node(self) -> None:
        """End the node beside us now: its broker leads the instance, and gets to it last of all."""
        with contextlib.suppress(UsernetesError, KeyError, ProcessLookupError, FileNotFoundError):
            for node in self.state.read()["nodes"]:
                handle = node["handle"]
                if handle.get("rank") == 0 and b".pyz" in Path(f"/proc/{handle['pid']}/cmdline").read_bytes():
                    os.kill(handle["pid"], signal.SIGTERM)

    def _end_pods(self) -> None:
        self.tell(f"ending: pods have {self.grace:g} s")
        try:
            left = end_pods(self.state.api(), self.grace)
            self.tell("all pods have ended" if not left else f"pods that did not end: {', '.join(left)}")
        except UsernetesError as error:
            self.tell(f"pods were not ended in order: {error}")


def hold_hosts(cluster: str, instance: Instance, notice: float, tell: Callable[[str], None]) -> None:
    """Hold this job's hosts for the cluster of another job, for ``usernetes add`` to take; returns when that ends.

    Raises `UsageError` outside a job, and what `flux_jobs.find` raises of `cluster`.
    """
    parent, job = flux_jobs.own_job(instance)
    found = flux_jobs.find(cluster, parent)
    flux_jobs.join(parent, job, found)
    limit = TimeLimit(instance, notice)
    tell(f"job {job.f58} holds {job.hosts} for the cluster of job {found.job.f58}")
    with Signals(lambda: None).heard() as signals:
        while not signals.ending.wait(LOOK_SECONDS) and not limit.near():
            if all(other.ended for other in found.instance.jobs([found.job.id])):
                tell(f"job {found.job.f58} has ended")
                break


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


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
