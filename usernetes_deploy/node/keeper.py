"""The keeper of a node: the user's own process that starts rootlesskit, and starts it again when it dies.

Killing the keeper ends the node completely: rootlesskit gets SIGKILL with its parent, the PID namespace goes with it.
The blob stays in the keeper's memory; rootlesskit and the supervisor read it from a sealed anonymous file on stdin.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node.config import API_PORT, COPIED_UP, POD_CPUS, NodeConfig
from usernetes_deploy.node.process import FIRST_BACKOFF, LONGEST_BACKOFF, how_it_ended

PR_SET_PDEATHSIG = 1
OF_A_JOB = "of-a-job"  # marks the folder of a node that ends with its batch job
LOCK = "keeper.lock"  # held by the keeper as long as it lives
WHOSE = "whose.json"  # of which cluster a node's folder is
SOCKET_PATH_LIMIT = 107  # bytes of sun_path, less the closing zero
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIND_OUTER = 30.0  # seconds for rootlesskit to have started the user-space NAT
LIBC = ctypes.CDLL(None, use_errno=True)

AS_SLIRP = "pasta-as-slirp4netns"
PASTA = """#!/bin/sh
# Makes pasta the user-space NAT of a node. rootlesskit has a pasta driver of its own, but with that one it does not
# publish ports while the node runs; it does with slirp4netns, so it is called as that and becomes pasta.
[ "$1" = --help ] && exec echo "--netns-type --disable-host-loopback"
for word; do
  case $word in
    --userns-path=*) userns=${word#*=} ;;
    /proc/*) netns=$word ;;
  esac
done
echo 1 >&3
exec pasta --foreground --quiet --ns-ifname=tap0 --mtu=65520 --ipv4-only --address=10.0.2.100 --netmask=24 \\
  --gateway=10.0.2.2 --dns-forward=10.0.2.3 --no-map-gw --tcp-ports=none --udp-ports=none --tcp-ns=none --udp-ns=none \\
  --userns="$userns" --netns="$netns" 3>&- >> "$XDG_RUNTIME_DIR/logs/node.log" 2>&1
"""


def rootlesskit_argv(config: NodeConfig, program: list[str]) -> list[str]:
    """The command that makes the node's namespaces and runs `program` inside them."""
    argv = [
        config.binary("rootlesskit"),
        f"--state-dir={config.root / 'rk'}",
        "--net=slirp4netns",
        *([f"--slirp4netns-binary={config.root / AS_SLIRP}"] if config.outer == "pasta" else []),
        "--mtu=65520",
        "--disable-host-loopback",
        "--detach-netns",
        "--pidns",
        "--propagation=rslave",
        "--port-driver=builtin",
        *(f"--copy-up={path}" for path in COPIED_UP),
    ]
    if config.cgroups == "delegated":
        argv += ["--cgroupns", "--evacuate-cgroup2=usernetes"]
    if config.control_plane:
        argv.append(f"--publish=0.0.0.0:{config.api_port}:{API_PORT}/tcp")
    return [*argv, *program]


def launch(
    config: NodeConfig,
    program: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `program` in new namespaces, with the blob on stdin and its words in node.log; it ends with this process.

    `environment` is what it gets beside the clean one. Raises `OSError`.
    """
    blob = os.memfd_create("usernetes-node", os.MFD_CLOEXEC)
    try:
        os.write(blob, config.to_json())
        os.lseek(blob, 0, os.SEEK_SET)
        with (config.logs / "node.log").open("ab") as log:
            return subprocess.Popen(
                rootlesskit_argv(config, program),
                stdin=blob,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=start_new_session,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one prctl, and no thread runs here
                env={**clean_environment(config), **(environment or {})},
            )
    finally:
        os.close(blob)


def prepare(config: NodeConfig) -> None:
    """Make the node's folder; raises `UsernetesError` when it is not ours or its path is too long."""
    longest = config.root / "rk" / ".bridge.sock.lock"
    if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
        raise UsernetesError(
            f"{config.root} is too long for the unix sockets in it ({SOCKET_PATH_LIMIT} bytes)",
            node=config.name,
            remedy="set storage.nodeDirectory to a shorter node-local folder",
        )
    try:
        # The folder above is in one that everybody writes to: whoever owns it could put another in the node's place.
        for folder in (config.root.parent, config.root, config.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = folder.stat().st_uid
            if owner != os.getuid():
                raise UsernetesError(f"{folder} belongs to uid {owner}", node=config.name)
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), node=config.name, tried=f"make {config.root}") from error
    if config.outer == "pasta":
        (config.root / AS_SLIRP).write_text(PASTA)
        (config.root / AS_SLIRP).chmod(0o700)
    # Whose it is, for who finds it without the cluster's state directory.
    (config.root / WHOSE).write_text(json.dumps({"cluster": config.cluster, "bundle": config.bundle}))


def hold_to(cpus: str | None, node: str) -> None:
    """Hold this process, and with it all that the node starts, to the system's CPUs; pods get all of the job's back.

    Raises `UsernetesError` when this process may use none of them.
    """
    there = sorted(os.sched_getaffinity(0))
    if len(there) < (os.cpu_count() or 1):  # a job that shares its host; runc would give pods the others' CPUs as well
        os.environ[POD_CPUS] = ",".join(map(str, there))
    if not cpus:
        return
    try:
        os.sched_setaffinity(0, parse_cpus(cpus))
    except OSError as error:
        raise UsernetesError(
            f"systemCpus {cpus}: {error.strerror}; there are {', '.join(map(str, there))}",
            node=node,
            remedy="choose among them, or leave systemCpus out",
        ) from error


def parse_cpus(text: str) -> list[int]:
    """
    >>> parse_cpus("0-1,8")
    [0, 1, 8]
    """
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


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

    def __init__(self, config: NodeConfig, program: list[str], of_a_job: bool = False) -> None:
        self.config = config
        self.of_a_job = of_a_job
        self.program = program
        self.restarts = 0
        self.last_exit: str | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = Flag()
        self._why = ""  # the child was killed by us, for this reason

    def prepare(self) -> None:
        """Make the node's folder; raises `UsernetesError` when it cannot carry a node."""
        prepare(self.config)
        try:
            hold_to(self.config.system_cpus, self.config.name)
        except UsernetesError as error:
            # Not every launcher listens to us; whoever asks why there is no keeper is shown this log.
            (self.config.logs / "node.log").write_text(f"{error}\n")
            raise

    def run(self) -> int:
        """Keep the node until SIGTERM or SIGINT; returns the exit code."""
        for number in ENDS:
            signal.signal(number, self._end)
        self.prepare()
        guard = None
        with (self.config.root / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsernetesError(
                    f"a node is already running in {self.config.root}",
                    node=self.config.name,
                    remedy="usernetes down, then up again",
                ) from error
            if self.of_a_job:
                (self.config.root / OF_A_JOB).touch()
                guard = self.guard()
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
            (self.config.root / "keeper.json").unlink(missing_ok=True)
        return guard.wait() if guard else 0

    def guard(self) -> subprocess.Popen[bytes] | None:
        """Have the folder removed once our lock is free, however we end: nobody comes to tidy up after a job's node.

        A broker that ends sends SIGTERM to our process group, and soon SIGKILL: the guard has a session of its own.
        """
        stop = [*own_program(), "stop", str(self.config.root), f"--rootlesskit={self.config.binary('rootlesskit')}"]
        try:
            return subprocess.Popen(
                ["flock", "--no-fork", str(self.config.root / LOCK), *stop],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=ignore_signals,  # noqa: PLW1509  no thread runs here
            )
        except OSError as error:  # then the next job's node here removes it
            print(f"the node's folder may stay behind when the job ends: flock: {error.strerror}", file=sys.stderr)
            return None

    def _once(self) -> int:
        remove_state(self.config.root / "rk")
        try:
            self._child = launch(self.config, self.program)
        except OSError as error:
            raise UsernetesError(str(error), node=self.config.name) from error
        if self._ending.is_set():  # told so while the child was being made
            self._child.kill()
        self._record()
        self._why = ""
        watch = threading.Thread(target=self._watch_outer, args=(self._child,), daemon=True)
        watch.start()
        code = self._child.wait()
        watch.join(1)  # so that no thread runs when the next child is forked
        return code

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
            draft.replace(self.config.root / "keeper.json")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send SIGKILL, or another signal, when the parent dies (called between fork and exec)."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)


def ignore_signals() -> None:
    """Let the usual ends pass by this process and all it starts (called between fork and exec)."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def child_named(parent: int, *names: str) -> int | None:
    """The child of `parent` whose program's name begins with one of `names`; None without one."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                program, _, fields = stat.partition("(")[2].rpartition(")")
                if program.startswith(names) and fields.split()[1] == str(parent) and fields.split()[0] != "Z":
                    return int(entry.name)
    return None


def wait_for_end(pid: int, parent: int) -> bool:
    """Sleep until process `pid` ends; whether it did so while `parent` lived."""
    began = start_time(pid)
    try:
        descriptors = [os.pidfd_open(pid), os.pidfd_open(parent)]
    except (OSError, AttributeError):  # Linux < 5.3 has no such thing, nor has a Python built there
        while began is not None and start_time(pid) == began and start_time(parent) is not None:
            time.sleep(5)
    else:
        try:
            select.select(descriptors, [], [])
            select.select(descriptors[1:], [], [], 1)  # it may have ended because its parent is about to
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    return start_time(parent) is not None and start_time(pid) is None


def remove_state(directory: Path) -> None:
    """Remove what a killed rootlesskit left: sockets and a bind-mounted file, nothing of worth."""
    subprocess.run(["rm", "-rf", str(directory)], check=False, capture_output=True)


def clean_environment(config: NodeConfig) -> dict[str, str]:
    """Only what a node needs of the job's environment: nobody's tokens travel into pods' helpers."""
    kept = {name: os.environ[name] for name in ("HOME", "USER", "LANG", "LC_ALL", "TZ", POD_CPUS) if name in os.environ}
    path = os.environ.get("PATH", "")
    return {
        **kept,
        "PATH": f"{config.bundle}/bin:{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
        "XDG_RUNTIME_DIR": str(config.root),
        "TMPDIR": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def own_program() -> list[str]:
    """The argv prefix that runs this node program again."""
    return [sys.executable, "-I", str(Path(sys.argv[0]).resolve())]
