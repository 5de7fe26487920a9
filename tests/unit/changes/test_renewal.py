"""New certificates for the nodes that run: the files of their start, other contents."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_up import make_cluster
from usernetes_deploy.changes import renewal
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import administrator, pki
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.cluster.status import certificates_of, expiry_words
from usernetes_deploy.errors import NodeFailures, Secret, UsernetesError
from usernetes_deploy.launch.base import Completed, Host


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two simulated nodes whose authorities are there."""
    made = make_cluster(tmp_path / "usernetes")
    made.state.write_secret("secrets.json", Identities.make().to_secret())
    monkeypatch.setattr(renewal, "launcher_from_state", lambda *_: made.launcher)
    return made


def test_every_running_node_gets_its_own_files_on_stdin(cluster: Any, tmp_path: Path) -> None:
    got: dict[str, dict[str, str]] = {}

    def take(host: Host, argv: Any, stdin: bytes) -> Completed:
        got[host.name] = json.loads(stdin)["files"]
        assert not any("PRIVATE KEY" in word for word in argv)
        return Completed(argv, 0, "", "")

    cluster.launcher._answers["renew"] = take
    state: ClusterState = cluster.state
    assert renewal.renew(state, Report(io.StringIO()), Path("node.pyz")) == ["node0", "node1"]
    assert "/etc/kubernetes/pki/apiserver.crt" in got["node0"]
    assert "/etc/kubernetes/pki/apiserver.crt" not in got["node1"]
    assert got["node0"]["/etc/kubernetes/pki/kubelet.crt"] != got["node1"]["/etc/kubernetes/pki/kubelet.crt"]
    assert certificates_of(state.record().members)["daysLeft"] in (364, 365)


def test_a_node_that_did_not_take_them_is_named_and_the_kubeconfig_is_new_all_the_same(cluster: Any) -> None:
    def refuse(host: Host, argv: Any, _: bytes) -> Completed:
        if host.name == "node1":
            raise UsernetesError("no route to host", node=host.name)
        return Completed(argv, 0, "", "")

    record = cluster.state.record()
    for name in ("node0", "node1"):
        record.members.update(name, certificates_end="2026-03-01T00:00:00+00:00")
    cluster.state.write(record.document())
    cluster.launcher._answers["renew"] = refuse
    with pytest.raises(NodeFailures, match="node1: no route to host"):
        renewal.renew(cluster.state, Report(io.StringIO()), Path("node.pyz"))
    assert certificates_of(cluster.state.record().members)["ends"]
    ends = {member.name: member.certificates_end for member in cluster.state.record().members}
    assert ends["node0"]
    assert ends["node1"] == "2026-03-01T00:00:00+00:00"


def test_with_new_authorities_nothing_that_the_old_ones_issued_is_believed(cluster: Any) -> None:
    got: dict[str, dict[str, str]] = {}

    def take(host: Host, argv: Any, stdin: bytes) -> Completed:
        got[host.name] = json.loads(stdin)["files"]
        raise UsernetesError("no route to host", node=host.name)

    cluster.launcher._answers["renew"] = take
    state: ClusterState = cluster.state
    state.write_secret("kubeconfig", Secret("the old one"))
    old = Identities.from_secret(state.read_secret("secrets.json"))
    with pytest.raises(NodeFailures, match="node0: no route to host"):
        renewal.renew(state, Report(io.StringIO()), Path("node.pyz"), revoke_all=True)
    new = Identities.from_secret(state.read_secret("secrets.json"))
    assert new.storage_key.reveal() == old.storage_key.reveal()  # or etcd's Secrets could not be read
    for name, kept in (("ca.crt", old.ca), ("front-proxy-ca.crt", old.front_proxy), ("etcd/ca.crt", old.etcd)):
        assert got["node0"][f"/etc/kubernetes/pki/{name}"] != kept.pair.certificate
    assert got["node0"]["/etc/kubernetes/pki/sa.pub"] == new.service_accounts[1] != old.service_accounts[1]
    assert got["node1"]["/etc/kubernetes/pki/ca.crt"] == new.ca.pair.certificate
    assert state.kubeconfig.read_text() == "the old one"  # the API shows its old certificate still
    with pytest.raises(NodeFailures):
        renewal.renew(state, Report(io.StringIO()), Path("node.pyz"))
    assert got["node0"]["/etc/kubernetes/pki/ca.crt"] == new.ca.pair.certificate  # a second one goes on


@pytest.mark.parametrize(("age", "new"), [(3 * 86400, False), (4 * 86400, True)])
def test_the_administrators_kubeconfig_is_made_anew_when_half_of_its_time_is_over(
    cluster: Any, age: int, new: bool
) -> None:
    state: ClusterState = cluster.state
    administrator.write(state)
    first = state.kubeconfig.read_bytes()
    then = time.time() - age
    os.utime(state.kubeconfig, (then, then))
    administrator.freshen(state)
    assert (state.kubeconfig.read_bytes() != first) == new
    pem = base64.b64decode(json.loads(state.kubeconfig.read_text())["users"][0]["user"]["client-certificate-data"])
    assert (pki.ends(pem.decode()) - datetime.now(UTC)).days in (6, 7)


def test_where_nothing_can_be_signed_the_kubeconfig_stays(cluster: Any) -> None:
    state: ClusterState = cluster.state
    administrator.write(state)
    os.utime(state.kubeconfig, (0, 0))
    (state.directory / "secrets.json").unlink()
    administrator.freshen(state)
    assert state.kubeconfig.stat().st_mtime == 0
    state.kubeconfig.unlink()
    administrator.freshen(state)
    assert not state.kubeconfig.exists()


def test_an_authority_outlasts_what_it_issues() -> None:
    identities = Identities.make()
    leaf = identities.proxy_credential().certificate
    assert (pki.ends(identities.ca.pair.certificate) - pki.ends(leaf)).days > 3000


@pytest.mark.parametrize(("left", "words"), [(None, 0), (30, 0), (29, 1), (-1, 1)])
def test_status_warns_thirty_days_before(left: int | None, words: int) -> None:
    assert len(expiry_words({"ends": "2026-12-01", "daysLeft": left})) == words


def test_a_node_that_missed_the_renewal_is_warned_of_by_its_name() -> None:
    nodes = [
        {"name": "node0", "certificates": {"ends": "2027-12-01", "daysLeft": 364}},
        {"name": "node1", "certificates": {"ends": "2026-12-01", "daysLeft": 3}},
        {"name": "node2", "certificates": {"ends": None, "daysLeft": None}},
    ]
    assert expiry_words({"ends": "2027-12-01", "daysLeft": 364}, nodes) == [
        "CERTS   of node1 end in 3 days (2026-12-01); fix: usernetes renew"
    ]
