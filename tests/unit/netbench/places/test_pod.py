"""What a benchmark's pod looks like, and what is said of one that does not run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from netbench.places.base import PlaceError
from netbench.places.pod import Kubectl, PodPlace
from netbench.start.mpi import Seat
from tests.unit.netbench.fakes import kubectl

HOSTS = [Seat("node0", "10.0.0.1"), Seat("node1", "10.0.0.2")]


def place(tmp_path: Path, network: str = "native", **options: Any) -> tuple[PodPlace, Path]:
    argv, pods = kubectl(tmp_path)
    client = Kubectl((*argv, "-n", "default"))
    return PodPlace(f"pod-{network}", HOSTS, client, **{"image": "pause", "ready_within": 1, **options}), pods


def test_a_pod_of_the_hosts_software_sees_it_read_only_and_runs_as_the_user(tmp_path: Path) -> None:
    made, _ = place(tmp_path, mounts=["/site/osu"])
    made.open()
    spec = made.manifest("x", "node0")["spec"]
    container = spec["containers"][0]
    assert container["image"] == "localhost/usernetes/pause:3.10"
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts.pop("/tmp") is False
    assert set(mounts.values()) == {True}
    assert {"/usr", "/lib", "/bin", "/site/osu"} <= mounts.keys()
    assert spec["securityContext"] == {"runAsUser": 0, "runAsGroup": 0}
    assert spec["nodeSelector"] == {"kubernetes.io/hostname": "node0"}
    assert "resources" not in container


def test_a_native_pod_has_the_hosts_network_and_its_addresses(tmp_path: Path) -> None:
    made, _ = place(tmp_path)
    made.open()
    assert made.manifest("x", "node0")["spec"]["runtimeClassName"] == "native"
    assert [seat.address for seat in made.seats()] == ["10.0.0.1", "10.0.0.2"]


def test_a_mesh_pod_has_its_own(tmp_path: Path) -> None:
    made, _ = place(tmp_path, "mesh")
    made.open()
    assert "hostNetwork" not in made.manifest("x", "node0")["spec"]
    assert [seat.address for seat in made.seats()] == ["127.0.0.1", "127.0.0.1"]
    assert made.seats()[1].run[-2:] == ("netbench-mesh-1", "--")


def test_another_image_brings_its_own_software(tmp_path: Path) -> None:
    made, _ = place(tmp_path, image="registry.example.org/osu:7.4", mounts=["/data"])
    container = made.manifest("x", "node0")["spec"]["containers"][0]
    assert container["image"] == "registry.example.org/osu:7.4"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data", "/tmp"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "was evicted: low on memory"),
        ({"phase": "Failed", "reason": "NodeShutdown"}, "failed: NodeShutdown"),
        (
            {"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]},
            "ended: OOMKilled .exit code 137.",
        ),
    ],
)
def test_what_happened_to_a_pod_is_said_with_its_node(tmp_path: Path, status: dict[str, Any], said: str) -> None:
    made, pods = place(tmp_path)
    made.open()
    assert made.trouble() is None
    path = pods / "netbench-native-1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": status}))
    trouble = made.trouble()
    assert trouble
    assert re.search(f"^pod netbench-native-1 on node1 {said}", trouble)
    assert not list(pods.glob("*.json"))


def test_a_pod_that_is_gone_is_missed(tmp_path: Path) -> None:
    made, pods = place(tmp_path)
    made.open()
    (pods / "netbench-native-0.json").unlink()
    assert made.trouble() == "pod netbench-native-0 on node0 is gone"


def test_a_kubectl_that_is_not_there_is_named() -> None:
    with pytest.raises(PlaceError, match="kubectl cannot be run"):
        Kubectl(("/nope/kubectl",))("get", "nodes")
