"""The audit trail of a cluster, as its driver reads it: who did what, and when each grant was used last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from usernetes_deploy.access import objects
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import UsageError

ACCOUNTS = f"system:serviceaccount:{objects.HOME}:"  # before the name of a grant, as the API names its user
SECONDS = 60.0
Event = Mapping[str, Any]


def trail(
    state: ClusterState,
    program: Path,
    *,
    grant: str = "",
    since: timedelta | None = None,
    verbs: Sequence[str] = (),
    lines: int = 1000,
) -> list[Event]:
    """The last `lines` events, oldest first, each with `node.audit.FIELDS`.

    `program` is the node program on this machine. Raises `UsageError` where no trail is kept, `CommandFailed` and the
    launcher's errors when the first node cannot be asked.

    >>> trail(state, program, grant="agent", verbs=["delete"])[-1]["name"]  # doctest: +SKIP
    'web-0'
    """
    if not _is_kept(state):
        raise UsageError(
            f"{state.name} keeps no audit trail: its spec has access.audit: false", remedy="usernetes up without it"
        )
    words = [f"--lines={lines}", *(f"--only={verb}" for verb in verbs)]
    if since is not None:
        words.append(f"--since={datetime.now(UTC) - since:%Y-%m-%dT%H:%M:%S.%fZ}")
    if grant:
        words.append(f"--user={ACCOUNTS}{grant}")
    return [json.loads(line) for line in _ask(state, program, words).splitlines()]


def last_use(state: ClusterState, program: Path) -> Mapping[str, datetime]:
    """When each grant asked last, as far back as the trail goes, by name; of revoked ones too."""
    if not _is_kept(state):
        return {}
    found: dict[str, str] = json.loads(_ask(state, program, [f"--last={ACCOUNTS}"]))
    return {name: datetime.fromisoformat(time) for name, time in found.items()}


def shown(events: Sequence[Event]) -> str:
    """For people: a line an event."""
    rows = [
        [
            f"{datetime.fromisoformat(one['time']):%Y-%m-%d %H:%M:%S}",
            _who(one["user"]) + (f" as {one['as']}" if one["as"] else ""),
            one["verb"],
            " ".join(filter(None, (one["resource"], one["name"]))),
            one["namespace"],
            str(one["code"]),
        ]
        for one in events
    ]
    return table([["TIME (UTC)", "WHO", "VERB", "WHAT", "NAMESPACE", "CODE"], *rows])


def _who(user: str) -> str:
    """How the user of an event is shown.

    >>> _who("system:serviceaccount:usernetes-grants:agent")
    'grant agent'
    """
    return f"grant {user.removeprefix(ACCOUNTS)}" if user.startswith(ACCOUNTS) else user


def _is_kept(state: ClusterState) -> bool:
    return bool(state.read()["spec"].get("access", {}).get("audit", True))


def _ask(state: ClusterState, program: Path, words: Sequence[str]) -> str:
    record = state.record()
    first = record.members.first
    launcher = launcher_from_state(record.launcher, program)
    try:
        argv = [*launcher.node_program(first.host), "audit", first.directory, *words]
        return launcher.run(first.host, argv, timeout=SECONDS).check(first.name).stdout
    finally:
        launcher.close()
