"""Every key and certificate of a cluster, made by the driver before the first process starts.

The layout follows kubeadm's (``/etc/kubernetes/pki``): one CA for the API and the kubelets, one for etcd, one for the
aggregation layer. All keys are ECDSA P-256; nothing is written to disk here.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from usernetes_deploy.errors import Secret

LIFETIME = datetime.timedelta(days=365)
AUTHORITY_LIFETIME = datetime.timedelta(days=3650)  # as kubeadm has it: `renew` issues again what ends before
BACKDATED = datetime.timedelta(hours=1)  # a node whose clock is a little behind must not find a certificate of tomorrow
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class KeyPair:
    """A private key and its certificate, both PEM; the key does not show itself."""

    key: Secret
    certificate: str


@dataclass(frozen=True)
class Authority:
    """A certificate authority that signs with its own key.

    >>> ca = Authority.make("kubernetes")
    >>> pair = ca.issue("system:node:node0", ["system:nodes"], usages=[CLIENT])
    >>> pair
    KeyPair(key=***, certificate='-----BEGIN CERTIFICATE-----...')
    """

    pair: KeyPair

    @classmethod
    def make(cls, common_name: str) -> Authority:
        """A new self-signed authority, valid for `AUTHORITY_LIFETIME`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            _builder(name, name, key.public_key(), AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(KeyPair(_key_pem(key), _certificate_pem(certificate)))

    def issue(
        self,
        common_name: str,
        organizations: Sequence[str] = (),
        *,
        usages: Sequence[x509.ObjectIdentifier],
        names: Iterable[str] = (),
        lifetime: datetime.timedelta = LIFETIME,
    ) -> KeyPair:
        """Sign a new key for `common_name`; `names` are DNS names or IP addresses the certificate is valid for."""
        issuer_key = serialization.load_pem_private_key(self.pair.key.reveal().encode(), None)
        if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic-curve key")
        issuer = x509.load_pem_x509_certificate(self.pair.certificate.encode())
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
            + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        )
        builder = (
            _builder(subject, issuer.subject, key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        alternatives = [_general_name(name) for name in dict.fromkeys(names)]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return KeyPair(_key_pem(key), _certificate_pem(builder.sign(issuer_key, hashes.SHA256())))


def service_account_keys() -> tuple[Secret, str]:
    """The key pair that signs service-account tokens: (private PEM, public PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _key_pem(key), public.decode()


def kubeconfig(cluster: str, server: str, ca: str, user: str, pair: KeyPair) -> Secret:
    """A kubeconfig (JSON, which is YAML) with everything inline; secret, for it holds the user's key."""

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    document: Mapping[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": encoded(ca)}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": encoded(pair.certificate),
                    "client-key-data": encoded(pair.key.reveal()),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    return Secret(json.dumps(document, indent=1) + "\n")


def ends(certificate: str) -> datetime.datetime:
    """When a certificate (PEM) ends, in UTC."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    lifetime: datetime.timedelta = LIFETIME,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(pem.decode())


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
