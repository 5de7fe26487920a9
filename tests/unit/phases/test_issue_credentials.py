"""Credentials: what signs stays with the driver and the first node; `add` goes on with the cluster's own authority."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cryptography import x509

from tests.unit.cluster.made_up import member
from tests.unit.phases.made_up import make
from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster.addressing import networks_of
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.membership import State
from usernetes_deploy.cluster.spec import ClusterSpec, load
from usernetes_deploy.phases.issue_credentials import IssueCredentials, issue
from usernetes_deploy.phases.plan_network import PlanNetwork
from usernetes_deploy.phases.record_cluster import RecordCluster

CA = "/etc/kubernetes/pki/ca.crt"


def test_only_the_first_node_holds_what_signs() -> None:
    members = [member(index) for index in range(2)]
    issued = issue(Identities.make(), members, networks_of(ClusterSpec()), ClusterSpec())
    held = {
        name: {path for path in files if "ca.key" in path or "sa.key" in path} for name, files in issued.files.items()
    }
    assert held == {"node0": {"/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/sa.key"}, "node1": set()}
    assert issued.files["node1"][CA] == issued.authority


def test_a_certificate_names_its_node_and_the_apis_its_addresses() -> None:
    members = [member(0)]
    files = issue(Identities.make(), members, networks_of(ClusterSpec()), ClusterSpec()).files["node0"]
    kubelet = x509.load_pem_x509_certificate(files["/etc/kubernetes/pki/kubelet-client.crt"].encode())
    assert "system:node:node0" in kubelet.subject.rfc4514_string()
    server = x509.load_pem_x509_certificate(files["/etc/kubernetes/pki/apiserver.crt"].encode())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"192.0.2.2", "10.64.0.1"} <= {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}


def test_a_backend_that_asks_the_api_gets_a_credential_of_its_own() -> None:
    spec = load({"network": {"backend": "flannel"}})
    members = [member(0), member(1)]
    files = issue(Identities.make(), members, networks_of(spec), spec).files
    assert all("/etc/kubernetes/flannel.conf" in held for held in files.values())


def test_nodes_that_come_later_are_signed_by_the_same_authority(tmp_path: Path) -> None:
    up = make(tmp_path, 2)
    run([*bringup.CHECK, RecordCluster(), PlanNetwork(), IssueCredentials()], up, up.report)
    kubeconfig, authority = up.state.kubeconfig.read_text(), up.nodes[0].files[CA]
    up.members.move("node0", State.STARTED)
    up.found = replace(up.found, hosts=up.hosts[1:])
    run([PlanNetwork(), IssueCredentials()], up, up.report)
    assert [node.name for node in up.nodes] == ["node1"]
    assert up.nodes[0].files[CA] == authority
    assert up.state.kubeconfig.read_text() == kubeconfig
    if up.report.log:
        up.report.log.close()
