"""All that helps somebody who was not there to see what happened to a cluster: logs, states, objects, in one folder.

Nothing in it is secret: of the state directory only the record and the log of `up` are taken, of the API only Nodes and
events, and no log of ours holds a key.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.cluster import status
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.nodes import save_logs
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.launch.base import on_all

LINES = 20000  # of each log
OBJECTS = {"nodes": "/api/v1/nodes", "events": "/api/v1/events", "leases": "/apis/coordination.k8s.io/v1/leases"}
SECONDS = 60.0


def collect(state: ClusterState, program: Path, target: Path, versions: Mapping[str, Any]) -> list[str]:
    """Write everything to `target`, a new folder or an archive (``*.tar.gz``); returns what could not be had, and why.

    `program` is the node program on this machine, `versions` what ``usernetes version --json`` says.
    Raises `UsageError` when `target` is there already, or cannot be written.
    """
    if target.exists():
        raise UsageError(f"{target} is there already", remedy=f"usernetes logs --all --out {target}-2")
    try:
        if not target.name.endswith((".tar.gz", ".tgz")):
            target.mkdir(mode=0o700, parents=True)
            return _fill(target, state, program, versions)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / f"usernetes-{state.name}"
            whole.mkdir(mode=0o700)
            lacking = _fill(whole, state, program, versions)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
                archive.add(whole, arcname=whole.name)
        return lacking
    except OSError as error:
        raise UsageError(error.strerror or str(error), tried=f"write {target}") from error


def _fill(folder: Path, state: ClusterState, program: Path, versions: Mapping[str, Any]) -> list[str]:
    lacking: list[str] = []

    def part(name: str, make: Callable[[], Any]) -> None:
        try:
            (folder / name).write_text(json.dumps(make(), indent=1, ensure_ascii=False), encoding="utf-8")
        except UsernetesError as error:
            lacking.append(f"{name}: {error.headline()}")

    document = state.read()
    part("versions.json", lambda: versions)
    part("cluster.json", lambda: document)
    part("status.json", lambda: status.collect(state, program))
    for name, path in OBJECTS.items():
        part(f"{name}.json", lambda path=path: _asked(state, path))  # type: ignore[misc]
    if state.log.exists():
        (folder / "up.log").write_bytes(state.log.read_bytes())
    lacking += _logs(folder / "logs", document, program)
    if lacking:
        (folder / "MISSING").write_text("\n".join(lacking) + "\n", encoding="utf-8")
    return lacking


def _asked(state: ClusterState, path: str) -> Any:
    api = state.api()
    try:
        return api.get(path)
    finally:
        api.close()


def _logs(folder: Path, document: Mapping[str, Any], program: Path) -> list[str]:
    members = {member.name: member for member in members_of(document).to_stop()}
    launcher = launcher_from_state(document["launcher"], program)
    try:
        outcome = on_all(
            (member.host for member in members.values()),
            lambda host: save_logs(launcher, members[host.name], folder / host.name, lines=LINES, seconds=SECONDS),
            deadline=SECONDS + 10,
        )
    finally:
        launcher.close()
    return [f"logs of {name}: {str(error).partition(chr(10))[0]}" for name, error in outcome.failures.items()]
