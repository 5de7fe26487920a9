"""Ending nodes does not depend on their logs, and hosts whose start may still come are told so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.unit.made_up import make_cluster
from usernetes_deploy.cluster.nodes import stop_nodes
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import FakeLauncher


def test_logs_that_cannot_be_kept_keep_no_node_from_being_stopped(tmp_path: Path) -> None:
    record = make_cluster(tmp_path, nodes=2).state.record()
    verbs: list[tuple[str, str]] = []

    def note(host: Host, argv: Sequence[str], _: bytes) -> Completed:
        verbs.append((host.name, "logs" if "logs" in argv else "stop"))
        return Completed(argv, 0, "the node's last words\n", "")

    launcher = FakeLauncher(2, answers={"logs": note, "stop": note})
    said: list[str] = []
    stop_nodes(launcher, record, record.members.to_stop(), keep=Path("/proc/nowhere"), say=said.append).check()
    assert sorted(verbs) == [("node0", "logs"), ("node0", "stop"), ("node1", "logs"), ("node1", "stop")]
    assert sorted(line.split(" were")[0] for line in said) == [
        "  warning: the logs of node0",
        "  warning: the logs of node1",
    ]


def test_only_those_whose_start_may_still_come_are_stopped_as_late(tmp_path: Path) -> None:
    record = make_cluster(tmp_path, nodes=2).state.record()
    late: dict[str, bool] = {}

    def note(host: Host, argv: Sequence[str], _: bytes) -> Completed:
        late[host.name] = "--late" in argv
        return Completed(argv, 0, "", "")

    stop_nodes(FakeLauncher(2, answers={"stop": note}), record, record.members.to_stop(), late={"node1"}).check()
    assert late == {"node0": False, "node1": True}
