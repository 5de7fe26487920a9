"""What the node program does about a node from outside it: status, logs, a way in, and its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node.control import ask
from usernetes_deploy.node.keeper import LOCK, OF_A_JOB, WHOSE, Keeper, start_time
from usernetes_deploy.node.process import tail

PATIENCE = 5.0  # seconds for killed processes to be gone


def in_background(keeper: Keeper) -> int:
    """Detach the keeper from the caller's session; its words go to ``logs/keeper.log``. Prints who it is, as JSON.

    ::

        {"directory": "/var/tmp/usernetes-1000/f2kx-1", "pid": 4121, "startTime": 8123456}
    """
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read) as answers:
            said = answers.read()
        if not said.startswith("{"):
            raise UsernetesError(said or "its keeper ended at once", node=keeper.config.name)
        print(said)
        return 0
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        keeper.prepare()
        _redirect(keeper.config.logs / "keeper.log")
        who = {"directory": str(keeper.config.root), "pid": os.getpid(), "startTime": start_time(os.getpid())}
        os.write(write, json.dumps(who).encode())
        os.close(write)
        code = keeper.run()
    except Exception as error:
        with contextlib.suppress(OSError):
            os.write(write, str(error).encode())
        print(error, file=sys.stderr)
    os._exit(code)


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, target in ((null, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, target)
    for descriptor in (null, file):
        if descriptor > 2:
            os.close(descriptor)


def status(directory: Path, *, brief: bool = False) -> dict[str, Any]:
    """What is known of the node in `directory`: its keeper, and what its supervisor says (`brief`: wrote last).

    >>> status(Path("/nowhere"))
    {'keeper': None, 'node': None, 'log': []}
    """
    keeper = _read(directory / "keeper.json")
    try:
        node = (
            ask(directory / "control.sock", {"verb": "status"})
            if keeper and not brief
            else _read(directory / "status.json")
        )
    except UsernetesError:
        node = _read(directory / "status.json")
    if keeper is not None:
        keeper["alive"] = start_time(keeper["pid"]) == keeper["startTime"]
    return {"keeper": keeper, "node": node, "log": tail(directory / "logs" / "node.log", 5)}


def stop(directory: Path, rootlesskit: str, keep: Path | None = None) -> None:
    """End the node and remove its folder; fine when there is no node, or only half of one.

    Raises `UsernetesError` when something cannot be ended or removed, naming it.
    """
    for pid in _processes([str(directory / LOCK)]):  # who would do the same when the keeper has ended (`Keeper.guard`)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    keeper = _living_keeper(directory)
    if keeper:
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGTERM)
    ends = time.monotonic() + PATIENCE
    pause = 0.01
    while True:
        left = list(_processes_of(directory))
        for pid in left:
            # The keeper ends by SIGTERM; a rootlesskit without a keeper, or a keeper that is stuck, by SIGKILL.
            if pid != keeper or time.monotonic() > ends - PATIENCE + 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if not left:
            break
        if time.monotonic() > ends:
            raise UsernetesError(f"processes {left} did not end within {PATIENCE:g} s", tried=f"stop {directory}")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
    if keep and (directory / "logs").is_dir():
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(directory / "logs", keep, dirs_exist_ok=True)
    remove(directory, rootlesskit)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()  # only when it was the last of the user's nodes here


def find(folder: Path | None = None) -> list[dict[str, Any]]:
    """The user's nodes on this host, running or not: ``[{"directory": ..., "cluster": ..., "bundle": ...}]``.

    They are looked for in the usual places, and in `folder`.
    """
    named = (os.environ.get("TMPDIR"), os.environ.get("XDG_RUNTIME_DIR"), folder)
    places = dict.fromkeys([Path("/var/tmp"), Path("/tmp"), *(Path(name) for name in named if name)])
    found = []
    for place in places:
        for marker in sorted((place / f"usernetes-{os.getuid()}").glob(f"*-*/{WHOSE}")):
            whose = _read(marker)
            if whose and marker.stat().st_uid == os.getuid():
                found.append({"directory": str(marker.parent), **whose})
    return found


def remove(directory: Path, rootlesskit: str) -> None:
    """Remove a node's folder, files of the pods' users included: those only a user namespace may delete."""
    if not directory.exists():
        return
    if directory.stat().st_uid != os.getuid():
        raise UsernetesError(f"{directory} belongs to another user", tried=f"remove {directory}")
    _make_writable(directory)
    subprocess.run(["rm", "-rf", str(directory)], check=False, capture_output=True)
    if directory.exists():
        state = directory.with_name(f".rm-{directory.name}-{os.getpid()}")  # a keeper may be at it as well
        done = subprocess.run(
            [rootlesskit, f"--state-dir={state}", "--net=host", "rm", "-rf", str(directory)],
            check=False,
            capture_output=True,
            text=True,
        )
        shutil.rmtree(state, ignore_errors=True)
        if directory.exists():
            raise UsernetesError(done.stderr.strip()[-400:] or "still there", tried=f"remove {directory}")


def sweep(base: Path, rootlesskit: str) -> None:
    """Remove the folders that nodes of killed jobs left in `base`: marked as a job's, and no keeper holds the lock."""
    for marker in base.glob(f"*/{OF_A_JOB}"):
        with contextlib.suppress(OSError, UsernetesError), (marker.parent / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(marker.parent, rootlesskit)


def _make_writable(directory: Path) -> None:
    """overlayfs leaves ``work`` folders without any permission; their owner may still take it."""
    for path in (directory / "containerd").glob("io.containerd.snapshotter.v1.overlayfs/snapshots/*/work/work"):
        with contextlib.suppress(OSError):
            path.chmod(stat.S_IRWXU)


def logs(directory: Path, components: list[str], lines: int, follow: bool) -> None:
    """Become a `tail` of each named component's log (default: of all); raises when there is none.

    With `follow` it goes on with what comes until the node's keeper ends.
    """
    folder = directory / "logs"
    there = sorted(path.stem for path in folder.glob("*.log"))
    unknown = [name for name in components if name not in there]
    if unknown or not there:
        raise UsernetesError(
            f"no log of {', '.join(unknown) or 'any component'} in {folder}",
            remedy=f"choose among {', '.join(there)}" if there else "usernetes status tells whether the node runs",
        )
    chosen = [str(folder / f"{name}.log") for name in components or there]
    argv = ["tail", f"--lines={lines}", *chosen]
    keeper = _living_keeper(directory)
    if follow and keeper:
        argv[1:1] = ["--follow=name", "--retry", f"--pid={keeper}"]
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # a line for each log that goes with the node
    sys.stdout.flush()
    os.execvp("tail", argv)


def enter(directory: Path, command: list[str], host_network: bool) -> None:
    """Become `command` inside the node's user, mount and PID namespaces and its network (or the host's)."""
    state = directory / "rk"
    try:
        child = int((state / "child_pid").read_text())
    except (OSError, ValueError) as error:
        raise UsernetesError(f"no node is running in {directory}", remedy="usernetes status") from error
    argv = ["nsenter", f"--target={child}", "--user", "--preserve-credentials", "--mount", "--pid"]
    if not host_network:
        argv.append(f"--net=/proc/{child}/root{state / 'netns'}")
    os.execvp("nsenter", [*argv, "--", *command])


def _processes_of(directory: Path) -> Iterator[int]:
    """Processes of this node that stand outside its PID namespace: its keeper, rootlesskit and the user-space NAT."""
    keeper = _living_keeper(directory)
    if keeper:
        yield keeper
    yield from _processes([f"--directory={directory}", f"--state-dir={directory}/rk"], f"{directory}/rk/")


def _processes(words: list[str], part: str | None = None) -> Iterator[int]:
    """The user's living processes that have one of `words` in their command line, or a word with `part` in it.

    This one and its parent are left out: a keeper at its end waits for its guard, which calls this.
    """
    whole = [os.fsencode(word) for word in words]
    within = os.fsencode(part) if part else None
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid != os.getuid():
                continue
            argv = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            if any(word in whole or (within and within in word) for word in argv) and start_time(int(entry.name)):
                yield int(entry.name)


def _living_keeper(directory: Path) -> int | None:
    """The process id of the node's keeper; None when it has ended, or another process got its number."""
    keeper = _read(directory / "keeper.json")
    return int(keeper["pid"]) if keeper and start_time(keeper["pid"]) == keeper["startTime"] else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
