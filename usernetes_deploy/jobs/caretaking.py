"""The caretaker of a job's cluster, with its hands: how it asks for hosts that are gone, removes nodes, adds others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from usernetes_deploy.changes import growth
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.jobs import systems
from usernetes_deploy.jobs.losses import Caretaker
from usernetes_deploy.phases.find_leaving import silence


def caretaker_of(state: ClusterState, told: Report, program: Path, *, replace: bool) -> Caretaker:
    """What sees to the lost nodes of the cluster of `state`, whose job this process is in.

    `program` is the node program on this machine; with `replace` free hosts take the places of lost nodes.
    """

    def gone(suspects: Collection[str]) -> Mapping[str, str]:
        record = state.record()
        launcher = systems.launcher_of(record.launcher, program)
        try:
            present = record.members.present()
            names = {member.name for member in present}
            lost = {name: why for name, why in launcher.lost().items() if name in names}
            asked = [member for member in present if member.name in suspects and member.name not in lost]
            ended, silent = silence(launcher, asked)
            return {**lost, **{name: why for name, why in ended.items() if name not in silent}}
        finally:
            launcher.close()

    def remove(names: Sequence[str]) -> None:
        growth.remove(state, told, program, names, force=True)

    def add(count: int) -> Sequence[str]:
        launcher = systems.launcher_of(state.read()["launcher"], program)
        try:
            free = launcher.free_hosts()[:count]
            launcher.take(free)
            return growth.add(state, told, launcher, lambda _: free) if free else []
        finally:
            launcher.close()

    return Caretaker(state, gone, remove, add if replace else None, told.line)
