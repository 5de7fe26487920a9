"""The keeper of a node: the user's own process that starts rootlesskit, and starts it again when it dies.

Killing the keeper ends the node completely: rootlesskit gets SIGKILL with its parent, the PID namespace goes with it.
The blob stays in the keeper's memory; rootlesskit and the supervisor read it from a sealed anonymous file on stdin.
What a running node is told later, as renewed certificates, is told to its keeper too: the next start begins with that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy import cpus
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import cgroups, control, folder, rootlesskit
from usernetes_deploy.node.config import NodeConfig
from usernetes_deploy.node.process import FIRST_BACKOFF, LONGEST_BACKOFF, how_it_ended
from usernetes_deploy.node.procfs import child_named, start_time, wait_for_end
from usernetes_deploy.node.share import Share, apply

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIND_OUTER = 30.0  # seconds for rootlesskit to have started the user-space NAT


def share_of_the_host() -> str:
    """The CPUs of this process, when they are not all of the host's: a job that shares its host. "" means all.

    runc would give pods the others' CPUs as well. Asked before `hold_to`, which narrows them.

    >>> share_of_the_host() in ("", cpus.text_of(os.sched_getaffinity(0)))
    True
    """
    there = os.sched_getaffinity(0)
    return cpus.text_of(there) if len(there) < (os.cpu_count() or 1) else ""


def hold_to(system_cpus: str | None, node: str) -> None:
    """Hold this process, and with it all that the node starts, to the system's CPUs; pods get all of the job's back.

    Raises `UsernetesError` when this process may use none of them.
    """
    if not system_cpus:
        return
    try:
        os.sched_setaffinity(0, cpus.parse(system_cpus))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsernetesError(
            f"systemCpus {system_cpus}: {reason}; there are {cpus.text_of(os.sched_getaffinity(0))}",
            node=node,
            remedy="choose among them, or leave systemCpus out",
        ) from error


class Flag:
    """What a signal's handler sets: a `threading.Event` has a lock, which the handler may interrupt the holder of.

    Two signals at once are enough for that, as when a broker ends: its SIGTERM, and the kernel's at its death.

    >>> flag = Flag()
    >>> flag.set()
    >>> flag.is_set(), flag.wait(60)
    (True, True)
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Set it, for good."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, at most so many seconds; whether it is."""
        ends = time.monotonic() + seconds
        while not self._set and time.monotonic() < ends:
            time.sleep(0.05)  # a signal does not cut a sleep short
        return self._set


class Keeper:
    """Starts and restarts one node's process tree.

    `record` (``keeper.json`` in the node's folder) names this process with its start time, so that a later `stop` never
    kills another process that got the same number.
    """

    def __init__(
        self, config: NodeConfig, program: list[str], of_a_job: bool = False, share: Share | None = None
    ) -> None:
        self.config = config  # after `prepare` with the CPUs that pods may use
        self.of_a_job = of_a_job
        self.share = share  # what of the host is the job's, where the batch system holds nobody to it
        self.program = program
        self.restarts = 0
        self.last_exit: str | None = None
        self._lock: int | None = None
        self._cgroup: Path | None = None  # the node's own, when one was delegated
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = Flag()
        self._why = ""  # the child was killed by us, for this reason

    def prepare(self) -> None:
        """Make the node's folder and hold its lock; raises `UsernetesError` when it cannot carry a node."""
        root, name = self.config.root, self.config.name
        folder.make(self.config)
        try:
            self._lock = folder.lock(root)
        except BlockingIOError as error:
            remedy = "usernetes down, then up again"
            raise UsernetesError(f"a node is already running in {root}", node=name, remedy=remedy) from error
        except OSError as error:
            raise UsernetesError(error.strerror or str(error), node=name, tried=f"lock {root}") from error
        if folder.was_stopped(root):
            folder.remove(root, self.config.binary("rootlesskit"))
            raise UsernetesError("the node was stopped before its start came", node=name)
        # Owner marker: lets `find` work without the cluster's state directory.
        whose = {"cluster": self.config.cluster, "bundle": self.config.bundle}
        (root / folder.WHOSE).write_text(json.dumps(whose))
        rootlesskit.write_nat(self.config)
        try:
            shared = self.config.shared and str(folder.of_shared_volumes(Path(self.config.shared)))
            if self.share:
                self.config = apply(self.share, self.config)
            self.config = self.config._replace(shared=shared, pod_cpus=share_of_the_host())
            hold_to(self.config.system_cpus, name)
            if self.config.cgroups == "delegated":
                self._cgroup = cgroups.divide(root.name)
                # Half: a pod that makes ever more processes must not keep the node, and the user, from making any.
                self.config = self.config._replace(pod_pids=cgroups.most_pids(self._cgroup.parent) // 2)
        except UsernetesError as error:
            # A launcher may not hear our stderr; `status` shows this log where there is no keeper.
            (self.config.logs / "node.log").write_text(f"{error}\n")
            raise

    def run(self, standing: Callable[[], None] = lambda: None) -> int:
        """Keep the node until SIGTERM or SIGINT; returns the exit code. `standing` is called once the lock is held."""
        for number in ENDS:
            signal.signal(number, self._end)
        self.prepare()
        assert self._lock is not None  # noqa: S101 (for the type checker)
        os.chdir("/")  # the caller's folder, and the file system it is on, are not ours to keep busy
        guard = None
        try:
            if self.of_a_job:
                (self.config.root / folder.OF_A_JOB).touch()
                guard = self.guard()
            standing()
            backoff = FIRST_BACKOFF
            while not self._ending.is_set():
                began = time.monotonic()
                code = self._once()
                self.last_exit = self._why or how_it_ended(code)
                if self._ending.is_set():
                    break
                self.restarts += 1
                self._record()
                if time.monotonic() - began > 60:
                    backoff = FIRST_BACKOFF
                self._ending.wait(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF)
            (self.config.root / folder.KEEPER).unlink(missing_ok=True)
            if self._cgroup:
                with contextlib.suppress(OSError):  # its processes are dying; the batch system or systemd removes it
                    cgroups.remove(self._cgroup)
        finally:
            os.close(self._lock)
        return guard.wait() if guard else 0

    def guard(self) -> subprocess.Popen[bytes] | None:
        """Have the folder removed once our lock is free, however we end: nobody comes to tidy up after a job's node.

        A broker that ends sends SIGTERM to our process group, and soon SIGKILL: the guard has a session of its own.
        """
        stop = [*self.program[:-1], "stop", str(self.config.root), f"--rootlesskit={self.config.binary('rootlesskit')}"]
        try:
            return subprocess.Popen(
                ["flock", "--no-fork", str(self.config.root / folder.LOCK), *stop],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=ignore_signals,  # noqa: PLW1509  no thread runs here
            )
        except OSError as error:  # then the next job's node here removes it
            print(f"the node's folder may stay behind when the job ends: flock: {error.strerror}", file=sys.stderr)
            return None

    def _once(self) -> int:
        rootlesskit.remove_state(self.config)
        try:
            if self._cgroup:
                cgroups.renew(self._cgroup)
            self._child = rootlesskit.launch(self.config, self.program, cgroup=self._cgroup)
        except OSError as error:
            raise UsernetesError(str(error), node=self.config.name) from error
        if self._ending.is_set():  # told so while the child was being made
            self._child.kill()
        self._record()
        self._why = ""
        watch = threading.Thread(target=self._watch, args=(self._child,), daemon=True)
        watch.start()
        with control.serving(self.config.root / control.KEEPER, {"remember": self.remember}):
            code = self._child.wait()
        watch.join(1)  # so that no thread runs when the next child is forked
        return code

    def remember(self, request: Mapping[str, Any]) -> None:
        """Begin with this the next time; raises `UsernetesError` for what is not of this node."""
        self.config = self.config.renewed(request)

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        """`_watch_outer`, again after whatever goes wrong; ends with the child."""
        while start_time(child.pid) is not None:
            try:
                return self._watch_outer(child)
            except Exception as error:
                print(f"watching {self.config.outer}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                time.sleep(1)
        return None

    def _watch_outer(self, child: subprocess.Popen[bytes]) -> None:
        """rootlesskit goes on without its user-space NAT; a node whose pods are cut off is no node: start it again."""
        ends = time.monotonic() + FIND_OUTER
        programs = ("pasta", "passt") if self.config.outer == "pasta" else ("slirp4netns",)  # pasta may be passt.avx2
        while (found := child_named(child.pid, *programs)) is None:
            if start_time(child.pid) is None or time.monotonic() > ends:
                return
            time.sleep(0.2)
        if wait_for_end(found, child.pid) and not self._ending.is_set():
            self._why = f"{self.config.outer} ended"
            with contextlib.suppress(OSError):
                child.kill()

    def _end(self, *_: object) -> None:
        """SIGKILL is enough: with rootlesskit's child the kernel ends every process of the PID namespace."""
        self._ending.set()
        if self._child is not None:
            with contextlib.suppress(OSError):
                self._child.kill()

    def _record(self) -> None:
        document: dict[str, Any] = {
            "pid": os.getpid(),
            "startTime": start_time(os.getpid()),
            "rootlesskit": self._child.pid if self._child else None,
            "restarts": self.restarts,
            "lastExit": self.last_exit,
        }
        draft = self.config.root / "keeper.new"
        with contextlib.suppress(OSError):
            draft.write_text(json.dumps(document))
            draft.replace(self.config.root / folder.KEEPER)


def ignore_signals() -> None:
    """Let the usual ends pass by this process and all it starts (called between fork and exec)."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)


def own_program() -> list[str]:
    """The argv prefix that runs this node program again."""
    return [sys.executable, "-I", str(Path(sys.argv[0]).resolve())]
