"""What a batch job does that is a cluster: bring it up, announce it, run the workflow, and end in time.

It ends in one of two ways. Some time before the time limit, or when `usernetes down` asks for it from outside (by
SIGUSR1), there is time: the workflow is told, pods get their grace period, logs are collected. With SIGHUP or SIGTERM
(``flux cancel``) there is none.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from usernetes_deploy.cluster.proxies import beside
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import Secret, UsageError, UsernetesError
from usernetes_deploy.jobs import records
from usernetes_deploy.jobs.batch import BatchJob, BatchSystem
from usernetes_deploy.jobs.ending import Signals, TimeLimit, end_pods
from usernetes_deploy.jobs.losses import Caretaker
from usernetes_deploy.node.procfs import die_with_parent

LOOK_SECONDS = 2.0
LOSS_SECONDS = 10.0  # between looks at brokers and nodes


@dataclass
class Session:
    """One cluster in one job.

    `up` brings it up and returns the kubeconfig's path, `down` takes it down and keeps the nodes' logs in the folder
    it is given; `grace` is the seconds that workflow and pods get each at the end, which begins `notice` seconds
    before the time limit. `caretaker` sees to nodes that are lost meanwhile.
    """

    system: BatchSystem
    job: BatchJob
    state: ClusterState
    up: Callable[[], Path]
    down: Callable[[Path | None], object]
    tell: Callable[[str], None]
    grace: float = 20.0
    notice: float = 60.0
    caretaker: Caretaker | None = None
    logs: Path | None = None
    path: str = ""
    _look: float = 0.0
    _said: str = ""

    def run(self, command: Sequence[str] = ()) -> int:
        """Live as long as the workflow `command`, or without one until the job is told to end.

        Returns the exit code of the workflow (128 + signal when a signal ended it), or 0. Raises what `up` raises.
        """
        job = self.job

        def forget() -> None:
            with contextlib.suppress(UsernetesError):
                self.system.before_cancel(self.state.read())
            self.state.remove()
            job.withdraw(timeout=1)

        with Signals(forget).heard() as signals:
            job.announce("starting")
            try:
                kubeconfig = self.up()
                limit = TimeLimit(self.system.time_left, self.notice)

                def hear() -> bool:
                    self._look_after(signals, limit)
                    if limit.near():
                        signals.ending.set()
                    return signals.ending.is_set()

                self.state.write_secret(records.SESSION, Secret(json.dumps({"pid": os.getpid()})))
                job.publish(records.of(self.state))
                job.announce("ready")
                self.tell(f"job {job.id}: cluster {self.state.name} is ready")
                code = self._workflow(command, kubeconfig, hear) if command else self._hold(hear)
            except BaseException:
                with contextlib.suppress(UsernetesError):
                    job.announce("failed")
                raise
            finally:
                self._end(signals)
        return code

    def _hold(self, told_to_end: Callable[[], bool]) -> int:
        while not told_to_end():
            if not self.state.exists():
                self.tell("the cluster was taken down")
                break
            time.sleep(LOOK_SECONDS)
        return 0

    def _workflow(self, command: Sequence[str], kubeconfig: Path, told_to_end: Callable[[], bool]) -> int:
        environment = {
            **beside(self.state, os.environ),
            "KUBECONFIG": str(kubeconfig),
            "USERNETES_CLUSTER": self.state.name,
        }
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
                if told_to_end() and not told:
                    told = time.monotonic()
                    self.tell(f"the allocation ends: the workflow is told (SIGTERM), and has {self.grace:g} s")
                    _signal_group(process, signal.SIGTERM)
                elif told and time.monotonic() - told > self.grace:
                    _signal_group(process, signal.SIGKILL)
        finally:
            _signal_group(process, signal.SIGKILL)  # what it left in the background
            process.wait()
        return 128 - code if code < 0 else code

    def _look_after(self, signals: Signals, limit: TimeLimit) -> None:
        """See to nodes that are lost: the cluster goes on, and says so."""
        if not self.caretaker or time.monotonic() < self._look or not self.state.exists() or signals.ending.is_set():
            return
        self._look = time.monotonic() + LOSS_SECONDS
        try:
            if self.caretaker.notices():
                self._refresh()
                before = self.state.read()
                try:
                    with signals.interrupting(limit.seconds()):
                        self.caretaker.act()
                finally:
                    if self.state.read() != before:
                        self.job.publish(records.of(self.state))
        except UsernetesError as error:
            if str(error) != self._said:
                self._said = str(error)
                self.tell(f"lost nodes cannot be seen to: {error}")
        except KeyboardInterrupt:
            self.tell("seeing to lost nodes was broken off: the job ends")

    def _end(self, signals: Signals) -> None:
        if self.state.exists():
            self._refresh()
            with contextlib.suppress(UsernetesError):
                if self.caretaker:
                    self.caretaker.drop()
            if signals.ending.is_set():
                # Slurm refuses a comment for a job whose hosts it has changed, where it has no accounting.
                with contextlib.suppress(UsernetesError):
                    self.job.announce("ending")
                self._end_pods()
            self.down(self.logs)
            if self.logs and self.logs.is_dir():
                self.tell(f"the nodes' logs are in {self.logs}")
        with contextlib.suppress(UsernetesError):
            self.job.withdraw()

    def _refresh(self) -> None:
        """Take in what `usernetes add` or `remove` on another host has changed since."""
        with contextlib.suppress(UsernetesError):
            if record := self.job.record():
                records.write(self.state, record)

    def _end_pods(self) -> None:
        self.tell(f"ending: pods have {self.grace:g} s")
        try:
            left = end_pods(self.state.api(), self.grace)
            self.tell("all pods have ended" if not left else f"pods that did not end: {', '.join(left)}")
        except UsernetesError as error:
            self.tell(f"pods were not ended in order: {error}")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
