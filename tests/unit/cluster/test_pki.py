"""Certificates: who may be who, for how long, and that keys do not show themselves."""

from __future__ import annotations

import base64
import datetime
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from usernetes_deploy.cluster import pki


def parsed(pair: pki.KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.encode())


def test_a_client_certificate_carries_name_and_groups() -> None:
    pair = pki.Authority.make("kubernetes").issue("system:node:a", ["system:nodes"], usages=[pki.CLIENT])
    subject = parsed(pair).subject
    assert [item.value for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:a"]
    assert [item.value for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:nodes"]


def test_a_server_certificate_holds_for_its_names_and_no_others() -> None:
    authority = pki.Authority.make("kubernetes")
    pair = authority.issue("kube-apiserver", usages=[pki.SERVER], names=["kubernetes", "10.64.0.1", "kubernetes"])
    store = Store([x509.load_pem_x509_certificate(authority.pair.certificate.encode())])
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName("kubernetes")).verify(parsed(pair), [])
    with pytest.raises(VerificationError):
        PolicyBuilder().store(store).build_server_verifier(x509.DNSName("other")).verify(parsed(pair), [])
    stranger = Store([parsed(pki.Authority.make("kubernetes").pair)])
    with pytest.raises(VerificationError):
        PolicyBuilder().store(stranger).build_server_verifier(x509.DNSName("kubernetes")).verify(parsed(pair), [])


def test_certificates_hold_for_a_year_and_for_clocks_an_hour_behind() -> None:
    certificate = parsed(pki.Authority.make("kubernetes").issue("someone", usages=[pki.CLIENT]))
    now = datetime.datetime.now(datetime.UTC)
    assert now - certificate.not_valid_before_utc >= datetime.timedelta(minutes=59)
    assert datetime.timedelta(days=364) < certificate.not_valid_after_utc - now < datetime.timedelta(days=366)


def test_an_authority_signs_no_further_authorities() -> None:
    authority = parsed(pki.Authority.make("kubernetes").pair)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_keys_do_not_show_themselves() -> None:
    authority = pki.Authority.make("kubernetes")
    pair = authority.issue("someone", usages=[pki.CLIENT])
    private, _ = pki.service_account_keys()
    config = pki.kubeconfig("demo", "https://10.0.0.1:6443", authority.pair.certificate, "admin", pair)
    for text in (repr(authority), str(pair), repr(pair), repr(private), f"{config}", repr(config)):
        assert "PRIVATE" not in text
        assert "***" in text


def test_a_kubeconfig_holds_everything_inline() -> None:
    authority = pki.Authority.make("kubernetes")
    pair = authority.issue("admin", usages=[pki.CLIENT])
    config = pki.kubeconfig("demo", "https://10.0.0.1:6443", authority.pair.certificate, "admin", pair)
    document = json.loads(config.reveal())
    assert document["current-context"] == "demo"
    assert document["clusters"][0]["cluster"]["server"] == "https://10.0.0.1:6443"
    assert "insecure-skip-tls-verify" not in config.reveal()
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]).decode() == pair.certificate
    assert base64.b64decode(user["client-key-data"]).decode() == pair.key.reveal()


def test_a_server_and_a_client_of_one_authority_meet_and_strangers_do_not(tmp_path: Path) -> None:
    authority = pki.Authority.make("kubernetes")

    def context(side: ssl.Purpose, pair: pki.KeyPair) -> ssl.SSLContext:
        made = ssl.create_default_context(side, cadata=authority.pair.certificate)
        made.verify_mode = ssl.CERT_REQUIRED
        (tmp_path / "c.pem").write_text(pair.certificate + pair.key.reveal())
        made.load_cert_chain(tmp_path / "c.pem")
        return made

    server = context(ssl.Purpose.CLIENT_AUTH, authority.issue("api", usages=[pki.SERVER], names=["kubernetes"]))

    def shake_hands(client: ssl.SSLContext) -> None:
        a_in, a_out, b_in, b_out = (ssl.MemoryBIO() for _ in range(4))
        left = client.wrap_bio(a_in, a_out, server_hostname="kubernetes")
        right = server.wrap_bio(b_in, b_out, server_side=True)
        done = set()
        for _ in range(10):
            for side in (left, right):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
                b_in.write(a_out.read())
                a_in.write(b_out.read())
        assert done == {left, right}

    shake_hands(context(ssl.Purpose.SERVER_AUTH, authority.issue("me", usages=[pki.CLIENT])))
    stranger = pki.Authority.make("kubernetes").issue("me", usages=[pki.CLIENT])
    with pytest.raises(ssl.SSLError):
        shake_hands(context(ssl.Purpose.SERVER_AUTH, stranger))
