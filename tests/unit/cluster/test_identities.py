"""Who holds which credential, and that the authorities can be written down and read again."""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.node.config import KUBERNETES, PKI


@pytest.fixture(scope="module")
def identities() -> Identities:
    return Identities.make()


def who(certificate: str) -> tuple[str, list[str]]:
    subject = x509.load_pem_x509_certificate(certificate.encode()).subject
    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(name.value), [str(group.value) for group in groups]


def test_the_authorities_come_back_as_they_were_and_do_not_show_themselves(identities: Identities) -> None:
    secret = identities.to_secret()
    assert Identities.from_secret(secret) == identities
    assert "PRIVATE" not in repr(identities) + repr(secret) + f"{secret}"


def test_a_node_is_a_node_and_nothing_more(identities: Identities) -> None:
    files = identities.node_files("node1", "10.64.0.2", identities.proxy_credential(), "demo", "https://10.64.0.1:6443")
    assert who(files[f"{PKI}/kubelet-client.crt"]) == ("system:node:node1", ["system:nodes"])
    serving = x509.load_pem_x509_certificate(files[f"{PKI}/kubelet.crt"].encode())
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["node1", "10.64.0.2"]
    keys = {f"{PKI}/{name}.key" for name in ("kubelet-client", "kubelet", "kube-proxy")}
    assert {path for path in files if path.endswith(".key")} == keys
    assert json.loads(files[f"{KUBERNETES}/kubelet.conf"])["clusters"][0]["cluster"]["server"].endswith(":6443")


def test_each_part_of_the_control_plane_is_known_by_its_own_name(identities: Identities) -> None:
    files = identities.control_plane_files("demo", "https://10.64.0.1:6443", ["kubernetes"], "10.64.0.1", metrics=False)
    assert who(files[f"{PKI}/apiserver-kubelet-client.crt"]) == ("kube-apiserver-kubelet-client", [])
    assert who(files[f"{PKI}/admin.crt"]) == ("usernetes:node-admin", ["system:masters"])
    assert who(files[f"{PKI}/front-proxy-client.crt"]) == ("front-proxy-client", [])
    configs = {path for path in files if path.endswith(".conf")}
    assert {path.rpartition("/")[2] for path in configs} == {
        "controller-manager.conf", "scheduler.conf", "coredns.conf", "local-path.conf", "admin.conf",
    }  # fmt: skip


def test_metrics_server_gets_a_credential_only_when_it_runs(identities: Identities) -> None:
    with_it = identities.control_plane_files("demo", "https://x:1", ["kubernetes"], "10.64.0.1", metrics=True)
    without = identities.control_plane_files("demo", "https://x:1", ["kubernetes"], "10.64.0.1", metrics=False)
    assert set(with_it) - set(without) == {
        f"{KUBERNETES}/metrics-server.conf", f"{PKI}/metrics-server.crt", f"{PKI}/metrics-server.key",
    }  # fmt: skip
