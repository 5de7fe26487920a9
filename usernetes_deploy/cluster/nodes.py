"""What is done to the nodes of a recorded cluster through its launcher: ask them, stop them, read their logs."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.cluster.launchers import shares_host
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.base import Host, Launcher, Outcome, on_all

STOP_DEADLINE = 30.0
LOGS_SECONDS = 10.0  # for the logs of a node that is about to end: they are evidence, its end is what matters
ASK_TIMEOUT = 10.0
FETCH_MIB, FETCH_SECONDS = 16, 120.0  # of a file at once


def ask_nodes(launcher: Launcher, members: Sequence[Member], *, brief: bool = False) -> Outcome:
    """What each node says of itself (`usernetes_deploy.node.verbs.status`), by name; silence is a failure."""
    by_name = {member.host.name: member for member in members}

    def ask(host: Host) -> Any:
        argv = [*launcher.node_program(host), "status", by_name[host.name].directory, *(["--brief"] if brief else [])]
        done = launcher.run(host, argv, timeout=ASK_TIMEOUT).check(host.name)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise UsernetesError(f"not understood: {done.stdout[:200]!r}", node=host.name, tried="status") from error

    return on_all((member.host for member in members), ask, deadline=ASK_TIMEOUT + 5)


def change_network(launcher: Launcher, members: Iterable[Member], parts: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """Give running nodes other peers (`parts`: node name -> its part of the network); nothing is restarted."""
    by_name = {member.host.name: member for member in members if member.host.name in parts}

    def change(host: Host) -> None:
        argv = [*launcher.node_program(host), "network", by_name[host.name].directory]
        launcher.run(host, argv, stdin=json.dumps(parts[host.name]).encode(), timeout=ASK_TIMEOUT).check(host.name)

    return on_all((member.host for member in by_name.values()), change, deadline=ASK_TIMEOUT + 5)


def stop_nodes(
    launcher: Launcher,
    record: Record,
    members: Iterable[Member],
    *,
    keep: Path | None = None,
    deadline: float = STOP_DEADLINE,
    late: Collection[str] = (),
    stay: bool = False,
    say: Callable[[str], object] = bool,
) -> Outcome:
    """End nodes and remove their folders, whether they run or not; `keep`: a folder here for their logs.

    A node that is not done after `deadline` seconds is a failure. Logs that cannot be fetched or kept (a full home, for
    instance) are said, and keep no node from being stopped. `late` are nodes whose start may still be on its way to the
    host: should it arrive after this, it makes no node. With `stay` the folders stay, for a later start.
    """
    by_name = {member.host.name: member for member in members}

    def stop(host: Host) -> None:
        member = by_name[host.name]
        rootlesskit = str(staged_root(record, member) / "bin" / "rootlesskit")
        argv = [*launcher.node_program(host), "stop", member.directory, f"--rootlesskit={rootlesskit}"]
        if host.name in late:
            argv.append("--late")
        if stay:
            argv.append("--stay")
        if keep is not None:
            try:
                save_logs(launcher, member, keep / host.name, seconds=LOGS_SECONDS)
            except (OSError, UsernetesError) as error:
                say(f"  warning: the logs of {host.name} were not kept: {error}")
        launcher.run(host, argv, timeout=deadline).check(
            host.name, remedy="usernetes down once more; what is left is named above"
        )

    return on_all((member.host for member in by_name.values()), stop, deadline=deadline + LOGS_SECONDS + 5)


def staged_root(record: Record, member: Member) -> Path:
    """Where the bundle lies on the node's host."""
    if shares_host(record.launcher):
        return Path(record.bundle["root"])
    return member.at.base / "bundle" / record.bundle["name"]


def fetch(launcher: Launcher, member: Member, path: Path) -> Iterator[bytes]:
    """The content of a file on a node's host, piece by piece; raises `CommandFailed` when it cannot be read."""
    for number in itertools.count():
        script = 'dd if="$1" bs=1048576 skip="$2" count="$3" status=none | base64'
        argv = ["sh", "-c", script, "sh", str(path), str(number * FETCH_MIB), str(FETCH_MIB)]
        text = launcher.run(member.host, argv, timeout=FETCH_SECONDS).check(member.name).stdout
        piece = base64.b64decode(text)
        yield piece
        if len(piece) < FETCH_MIB << 20:
            return


def save_logs(
    launcher: Launcher, member: Member, target: Path, lines: int = 5000, seconds: float = STOP_DEADLINE
) -> None:
    """Fetch the end of every log of a node into `target`; a node without logs has none to fetch."""
    argv = [*launcher.node_program(member.host), "logs", member.directory, f"--lines={lines}"]
    done = launcher.run(member.host, argv, timeout=seconds)
    if done.returncode == 0 and done.stdout:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.with_suffix(".log").write_text(done.stdout, encoding="utf-8")
