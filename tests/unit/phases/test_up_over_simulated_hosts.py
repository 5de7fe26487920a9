"""The whole of `up` over simulated hosts: the order, what is taken back, and that no secret is ever shown."""

from __future__ import annotations

import io
import json
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, recorded
from tests.unit.phases.made_up import answers, make
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import run
from usernetes_deploy.errors import BundleError, NodeFailures, TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.fake import Behaviour, FakeLauncher

SECRET = re.compile(r"PRIVATE KEY|client-key-data|privateKey")


@pytest.fixture(autouse=True)
def no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the simulated hosts' addresses; a network would take seconds to say so."""

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("usernetes_deploy.api.Api._exchange", refuse)


def begin(up: BringUp, count: int) -> None:
    """The first `count` phases."""
    run(bringup.UP[:count], up, up.report)
    if up.report.log:
        up.report.log.close()
        up.report.log = None


def said(up: BringUp) -> str:
    assert isinstance(up.report.stream, io.StringIO)
    return up.report.stream.getvalue()


def fake(up: BringUp) -> FakeLauncher:
    assert isinstance(up.launcher, FakeLauncher)
    return up.launcher


def everything_shown(up: BringUp, error: BaseException) -> str:
    """Whatever a person, a log or `ps` could see of an `up`."""
    up_log = up.state.log.read_text() if up.state.log.exists() else ""
    record = (up.state.directory / "cluster.json").read_text() if up.state.exists() else ""
    calls = json.dumps([list(call.argv) for call in fake(up).calls])
    chain = "".join(traceback.format_exception(error))
    return "\n".join(
        [
            said(up),
            up_log,
            record,
            calls,
            chain,
            str(error),
            repr(error),
            repr(up.state),
            repr(list(up.members) if "_record" in vars(up) else ""),
        ]
    )


def fail_at(monkeypatch: pytest.MonkeyPatch, title: str, error: BaseException) -> None:
    phase = next(phase for phase in bringup.UP if phase.title == title)

    def apply(_: object, __: BringUp) -> str:
        raise error

    monkeypatch.setattr(type(phase), "apply", apply)


def test_nodes_that_never_become_ready_are_named_and_stopped(tmp_path: Path) -> None:
    up = make(tmp_path)
    with pytest.raises(TimedOut, match="not Ready: node0, node1, node2") as caught:
        bringup.up(up)
    assert [call.host for call in fake(up).calls if call.verb == "start"] == ["node0", "node1", "node2"]
    assert fake(up).running() == []
    assert not up.state.exists()
    assert not SECRET.search(everything_shown(up, caught.value))


@pytest.mark.parametrize("title", [phase.title for phase in bringup.UP])
@pytest.mark.parametrize("error", [UsernetesError("no"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_whatever_phase_fails_nothing_is_left_and_no_secret_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, error: BaseException
) -> None:
    up = make(tmp_path)
    fail_at(monkeypatch, title, error)
    titles = [phase.title for phase in bringup.UP]
    for phase in bringup.UP[titles.index("wait for Ready") : titles.index(title)]:  # simulated nodes have no API
        monkeypatch.setattr(type(phase), "apply", lambda *_: "done")
    # So that there is something to apply, were it not for the error.
    monkeypatch.setattr(
        "usernetes_deploy.phases.apply_manifests.ApplyManifests.check", lambda *_: title == "apply the manifests"
    )
    with pytest.raises(type(error)) as caught:
        bringup.up(up)
    assert caught.value is error
    assert fake(up).running() == []
    assert not up.state.exists()
    assert not list(up.state.root.glob(".*.lock"))
    assert not SECRET.search(everything_shown(up, caught.value))


@pytest.mark.parametrize(("backend", "least"), [("mesh", 1340), ("flannel", 1330)])
def test_too_small_an_mtu_is_found_before_anything_is_changed(tmp_path: Path, backend: str, least: int) -> None:
    small = answers("debian-12-ready").replace("mtu 1500", "mtu 1300")
    up = make(tmp_path, recorded={"node1": small}, network={"backend": backend})
    with pytest.raises(NodeFailures) as caught:
        bringup.up(up)
    assert caught.value.exit_code == 3
    assert re.search(rf"node1: interface \S+ has MTU 1300, the {backend} needs {least} or more", str(caught.value))
    assert set(caught.value.failures) == {"node1"}
    assert not any(call.verb == "start" for call in fake(up).calls)


def test_secrets_reach_the_hosts_on_stdin_alone(tmp_path: Path) -> None:
    up = make(tmp_path)
    with pytest.raises(TimedOut):
        bringup.up(up)
    starts = [call for call in fake(up).calls if call.verb == "start"]
    assert all(call.stdin_bytes > 5000 for call in starts)
    assert starts[0].stdin_bytes > starts[1].stdin_bytes  # the authorities' keys are the first node's alone


def test_a_worker_holds_no_key_of_the_control_plane(tmp_path: Path) -> None:
    up = make(tmp_path)
    begin(up, 7)
    first, second, third = up.nodes
    assert {path for path in first.files if path.endswith("ca.key")} == {"/etc/kubernetes/pki/ca.key"}
    assert not [path for path in second.files if "ca.key" in path or "admin" in path or "sa.key" in path]
    keys = [node.network["privateKey"] for node in up.nodes]
    assert len(set(keys)) == 3
    assert not any(keys[0] in json.dumps(node._asdict()) for node in (second, third))
    clients = [node.files["/etc/kubernetes/pki/kubelet-client.key"] for node in up.nodes]
    assert len(set(clients)) == 3


def test_each_node_has_its_own_addresses_and_the_first_the_manifests(tmp_path: Path) -> None:
    up = make(tmp_path)
    begin(up, 7)
    assert [node.node_ip for node in up.nodes] == ["10.64.0.1", "10.64.0.2", "10.64.0.3"]
    assert [node.pod_cidr for node in up.nodes] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    assert [bool(node.manifests) for node in up.nodes] == [True, False, False]
    assert [node.control_plane for node in up.nodes] == [True, False, False]
    mode = (up.state.directory / "secrets.json").stat().st_mode & 0o777
    assert mode == up.state.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_a_host_that_is_not_fit_is_named_with_its_remedy_and_nothing_is_begun(tmp_path: Path) -> None:
    up = make(tmp_path, recorded={"node1": answers("debian-12-not-prepared")})
    with pytest.raises(NodeFailures) as caught:
        bringup.up(up)
    assert caught.value.exit_code == 3
    assert set(caught.value.failures) == {"node1"}
    assert "fix: usernetes prepare --tags" in str(caught.value)
    assert {call.verb for call in fake(up).calls} == {"run"}
    assert not up.state.directory.exists()


@pytest.mark.parametrize("case", ["centos-7", "security-no-new-privs", "disks-none-fit", "ubuntu-24.04-apparmor"])
def test_recorded_hosts_that_cannot_carry_a_node_are_exit_code_3(tmp_path: Path, case: str) -> None:
    up = make(tmp_path, 1, recorded={"": answers(case)})
    with pytest.raises(UsernetesError) as caught:
        bringup.up(up)
    assert caught.value.exit_code == 3
    assert not up.state.directory.exists()


def test_a_host_that_cannot_be_reached_is_let_go_within_min_nodes(tmp_path: Path) -> None:
    down = {"node2": Behaviour(down="No route to host")}
    up = make(tmp_path, behaviours=down, minNodes=2)
    begin(up, 8)
    assert [node.name for node in up.nodes] == ["node0", "node1"]
    (gone,) = [entry for entry in up.state.read()["members"] if entry["state"] == "given-up"]
    assert (gone["name"], gone["why"]) == ("node2", "node2: connect: No route to host")
    assert "directory" not in gone  # nothing of it is on its host
    with pytest.raises(NodeFailures, match="No route to host"):
        bringup.up(make(tmp_path / "strict", behaviours=down))


def test_the_first_host_is_never_let_go(tmp_path: Path) -> None:
    with pytest.raises(NodeFailures, match="node0: connect"):
        bringup.up(make(tmp_path, behaviours={"node0": Behaviour(down="gone")}, minNodes=1))


def test_a_cluster_of_the_name_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    up = make(tmp_path)
    up.state.create()
    up.state.write({**recorded([member(0)]).document(), "mine": True})
    with pytest.raises(UsageError, match="a cluster named demo exists"):
        bringup.up(up)
    assert fake(up).calls == []
    assert up.state.read()["mine"]


def test_the_record_stays_when_a_node_could_not_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = make(tmp_path)

    def cannot(*_: object, **__: object) -> Any:
        raise UsernetesError("node1: stuck")

    monkeypatch.setattr("usernetes_deploy.phases.stop_nodes.stop_nodes", cannot)
    with pytest.raises(TimedOut):
        bringup.up(up)
    assert "not undone: start the nodes: node1: stuck" in said(up)
    assert "usernetes down --cluster demo ends what is left" in said(up)
    assert up.state.exists()


@pytest.mark.parametrize(
    ("fields", "component"),
    [({"metrics": True}, "metrics-server"), ({"network": {"backend": "flannel"}}, "flannel")],
    ids=["metrics", "flannel"],
)
def test_a_bundle_without_what_the_spec_asks_for_is_refused_before_anything_is_asked(
    tmp_path: Path, fields: dict[str, Any], component: str
) -> None:
    up = make(tmp_path, optional=(), **fields)
    with pytest.raises(BundleError, match=f"has no {component}, which the spec asks for") as caught:
        bringup.up(up)
    assert f"usernetes bundle build --with {component}" in str(caught.value)
    assert fake(up).calls == []
    assert not up.state.directory.exists()
