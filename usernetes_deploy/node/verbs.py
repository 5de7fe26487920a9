"""What the node program does about a node from outside it: status, logs, a way in, and its end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import folder
from usernetes_deploy.node.control import SUPERVISOR, ask
from usernetes_deploy.node.keeper import Keeper
from usernetes_deploy.node.process import tail
from usernetes_deploy.node.procfs import own_processes, start_time
from usernetes_deploy.node.rootlesskit import AS_SLIRP

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

    def standing() -> None:
        _redirect(keeper.config.logs / "keeper.log")
        who = {"directory": str(keeper.config.root), "pid": os.getpid(), "startTime": start_time(os.getpid())}
        answers.write(json.dumps(who))
        answers.close()

    answers = os.fdopen(write, "w")
    try:
        code = keeper.run(standing)
    except Exception as error:
        with contextlib.suppress(OSError):
            if answers.closed:
                print(error, file=sys.stderr)
            else:
                answers.write(str(error))
                answers.close()
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
    folder.check(directory)
    keeper = folder.read(directory / folder.KEEPER)
    if keeper and not brief:
        try:
            node = ask(directory / SUPERVISOR, {"verb": "status"})
        except UsernetesError:  # what it wrote may be of a life that is over
            silent = "it does not answer: it is being started, or it hangs"
            node = folder.read(directory / "status.json")
            node = {**node, "problems": [*node.get("problems", []), silent]} if node else None
    else:
        node = folder.read(directory / "status.json")
    if keeper is not None:
        keeper["alive"] = start_time(keeper["pid"]) == keeper["startTime"]
    return {"keeper": keeper, "node": node, "log": tail(directory / "logs" / "node.log", 5)}


def stop(
    directory: Path, rootlesskit: str, keep: Path | None = None, *, late: bool = False, stay: bool = False
) -> None:
    """End the node and remove its folder; fine when there is no node, or only half of one.

    `late`: its start may still be under way; should it come after this, it makes no node. `stay`: the folder stays, for
    a later start of the same node.
    Raises `UsernetesError` when something cannot be ended or removed, naming it.
    """
    folder.check(directory)
    if late:
        folder.remember_stop(directory)
    # Who would do the same when the keeper has ended (`Keeper.guard`):
    for pid in own_processes(lambda argv: _is_guard(argv, directory)):
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
    if stay:
        for name in (folder.KEEPER, "status.json"):  # what they say is of a node that is no more
            (directory / name).unlink(missing_ok=True)
        return
    folder.remove(directory, rootlesskit)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()  # only when it was the last of the user's nodes here


def logs(directory: Path, components: list[str], lines: int, follow: bool) -> None:
    """Become a `tail` of each named component's log (default: of all); raises when there is none.

    With `follow` it goes on with what comes until the node's keeper ends.
    """
    folder.check(directory)
    written = directory / "logs"
    there = sorted(path.stem for path in written.glob("*.log"))
    unknown = [name for name in components if name not in there]
    if unknown or not there:
        raise UsernetesError(
            f"no log of {', '.join(unknown) or 'any component'} in {written}",
            remedy=f"choose among {', '.join(there)}" if there else "usernetes status tells whether the node runs",
        )
    chosen = [str(written / f"{name}.log") for name in components or there]
    argv = ["tail", f"--lines={lines}", *chosen]
    keeper = _living_keeper(directory)
    if follow and keeper:
        argv[1:1] = ["--follow=name", "--retry", f"--pid={keeper}"]
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # a line for each log that goes with the node
    sys.stdout.flush()
    os.execvp("tail", argv)


def audit(wanted: argparse.Namespace) -> None:
    """Print what the API server wrote of who did what, an object a line; with `last` one object: user to time."""
    from usernetes_deploy.node import audit as log

    folder.check(wanted.directory)
    logs = wanted.directory / "logs"
    if wanted.last:
        print(json.dumps(log.last_use(logs, wanted.last)))
        return
    found = log.events(logs, since=wanted.since, user=wanted.user, verbs=wanted.only)
    for event in deque(found, maxlen=wanted.lines):
        print(json.dumps(event))


def enter(directory: Path, command: list[str], host_network: bool) -> None:
    """Become `command` inside the node's user, mount and PID namespaces and its network (or the host's)."""
    folder.check(directory)
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
    yield from own_processes(lambda argv: _is_of(argv, str(directory)))


def _is_of(argv: list[str], directory: str) -> bool:
    """Whether a command line is one that a node of `directory` has; a process that only names the folder is not.

    >>> _is_of(["python3", "/p/node.pyz", "run", "--directory=/n"], "/n"), _is_of(["grep", "--directory=/n"], "/n")
    (True, False)
    >>> _is_of(["/b/rootlesskit", "--state-dir=/n/rk"], "/n"), _is_of(["vi", "/n/rk/log"], "/n")
    (True, False)
    """
    program = argv[0].rpartition("/")[2]
    if program in ("rootlesskit", "exe"):  # it starts itself again, as /proc/self/exe
        return f"--state-dir={directory}/rk" in argv
    if program.startswith(("slirp4netns", "pasta", "passt")):
        return any(f"{directory}/rk/netns" in word for word in argv)
    if f"{directory}/{AS_SLIRP}" in argv[:2]:
        return True
    for place, word in enumerate(argv[2:], 2):  # the keeper, or what waits to become it: a shell, systemd-run
        if word == f"--directory={directory}":
            return argv[place - 1] in ("run", "start") and argv[place - 2].endswith((".pyz", "/__main__.py"))
    return False


def _is_guard(argv: list[str], directory: Path) -> bool:
    return argv[0].rpartition("/")[2] == "flock" and argv[1:3] == ["--no-fork", str(directory / folder.LOCK)]


def _living_keeper(directory: Path) -> int | None:
    """The process id of the node's keeper; None when it has ended, or another process got its number."""
    keeper = folder.read(directory / folder.KEEPER)
    return int(keeper["pid"]) if keeper and start_time(keeper["pid"]) == keeper["startTime"] else None


def prune(further: Path | None, keep: Sequence[str]) -> dict[str, Any]:
    """Remove the bundles on this host that no node of the user needs, and that are not named in `keep`.

    They are looked for in the usual places and in `further`. Returns ``{"removed": [folders], "bytes": how many}``.
    """
    from usernetes_deploy.bundle import stage

    needed = {*keep, *(Path(str(node["bundle"])).name for node in folder.find(further))}
    removed: list[str] = []
    size = 0
    for base in folder.places(further):
        parent = base / "bundle"
        if not parent.is_dir() or parent.stat().st_uid != os.getuid():
            continue
        before = stage.sizes(parent)
        for name in stage.prune(parent, frozenset(needed)):
            removed.append(str(parent / name))
            size += before.get(name, 0)
    return {"removed": removed, "bytes": size}
