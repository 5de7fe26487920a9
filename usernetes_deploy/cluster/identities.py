"""Who is who in a cluster: the authorities, and the certificates and credentials of each node.

Made before the first process starts, so that no node ever waits for another one's signature.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from usernetes_deploy.cluster.administrator import VALID
from usernetes_deploy.cluster.pki import CLIENT, SERVER, Authority, KeyPair, kubeconfig, service_account_keys
from usernetes_deploy.errors import Secret
from usernetes_deploy.node.config import ENCRYPTION, KUBERNETES, PKI


@dataclass(frozen=True)
class Credentials:
    """What was issued for one change: the files of each node that comes, and the authority (PEM) they are signed by."""

    files: Mapping[str, Mapping[str, str]]
    authority: str


@dataclass(frozen=True)
class Identities:
    """The cluster's three authorities and its service-account keys: what `add` needs again."""

    ca: Authority
    front_proxy: Authority
    etcd: Authority
    service_accounts: tuple[Secret, str]
    storage_key: Secret  # 32 bytes in base64: Secrets are encrypted with it before etcd has them

    @classmethod
    def make(cls) -> Identities:
        """New ones."""
        return cls(
            Authority.make("kubernetes"), Authority.make("front-proxy-ca"), Authority.make("etcd-ca"),
            service_account_keys(), Secret(base64.b64encode(secrets.token_bytes(32)).decode()),
        )  # fmt: skip

    def replaced(self) -> Identities:
        """New ones for the same cluster: what these signed is believed no more, and etcd's data can be read still."""
        return dataclasses.replace(Identities.make(), storage_key=self.storage_key)

    def to_secret(self) -> Secret:
        """As JSON, for ``secrets.json`` (0600)."""
        return Secret(
            json.dumps(
                {
                    **{
                        name: {"key": authority.pair.key.reveal(), "certificate": authority.pair.certificate}
                        for name, authority in self._authorities().items()
                    },
                    "storageKey": self.storage_key.reveal(),
                    "serviceAccounts": {"key": self.service_accounts[0].reveal(), "public": self.service_accounts[1]},
                }
            )
        )

    @classmethod
    def from_secret(cls, text: Secret) -> Identities:
        """The inverse of `to_secret`."""
        document = json.loads(text.reveal())

        def authority(name: str) -> Authority:
            return Authority(KeyPair(Secret(document[name]["key"]), document[name]["certificate"]))

        accounts = document["serviceAccounts"]
        return cls(
            authority("ca"), authority("frontProxy"), authority("etcd"), (Secret(accounts["key"]), accounts["public"]),
            Secret(document["storageKey"]),
        )  # fmt: skip

    def _authorities(self) -> dict[str, Authority]:
        return {"ca": self.ca, "frontProxy": self.front_proxy, "etcd": self.etcd}

    def administrator(self, cluster: str, server: str) -> Secret:
        """The administrator's kubeconfig, valid for some days (`administrator.VALID`)."""
        lifetime = datetime.timedelta(seconds=VALID)
        pair = self.ca.issue("usernetes-admin", ["system:masters"], usages=[CLIENT], lifetime=lifetime)
        return kubeconfig(cluster, server, self.ca.pair.certificate, "usernetes-admin", pair)

    def node_files(self, name: str, node_ip: str, proxy: KeyPair, cluster: str, api_url: str) -> dict[str, str]:
        """What every node holds: path -> content. `proxy` is kube-proxy's one credential, the same on all nodes."""
        client = self.ca.issue(f"system:node:{name}", ["system:nodes"], usages=[CLIENT])
        serving = self.ca.issue(f"system:node:{name}", ["system:nodes"], usages=[SERVER], names=[name, node_ip])
        certificate = self.ca.pair.certificate
        return {
            f"{PKI}/ca.crt": certificate,
            **_pair(f"{PKI}/kubelet-client", client),
            **_pair(f"{PKI}/kubelet", serving),
            **_pair(f"{PKI}/kube-proxy", proxy),
            f"{KUBERNETES}/kubelet.conf": kubeconfig(cluster, api_url, certificate, "kubelet", client).reveal(),
            f"{KUBERNETES}/kube-proxy.conf": kubeconfig(cluster, api_url, certificate, "kube-proxy", proxy).reveal(),
        }

    def _encryption(self) -> str:
        """An EncryptionConfiguration (JSON): Secrets are written with the key, and what is plain can still be read."""
        key = {"name": "usernetes", "secret": self.storage_key.reveal()}
        resource = {"resources": ["secrets"], "providers": [{"secretbox": {"keys": [key]}}, {"identity": {}}]}
        return json.dumps(
            {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [resource]}
        )

    def credential(self, cluster: str, api_url: str, user: str) -> str:
        """A kubeconfig for one more client, known by its user name."""
        pair = self.ca.issue(user, usages=[CLIENT])
        return kubeconfig(cluster, api_url, self.ca.pair.certificate, user, pair).reveal()

    def proxy_credential(self) -> KeyPair:
        """kube-proxy's; Kubernetes binds its rights to this user name."""
        return self.ca.issue("system:kube-proxy", usages=[CLIENT])

    def control_plane_files(
        self, cluster: str, api_url: str, names: Sequence[str], node_ip: str, *, metrics: bool
    ) -> dict[str, str]:
        """What the first node holds beyond; `names` are what the API's certificate is valid for."""
        certificate = self.ca.pair.certificate

        def credential(user: str, groups: Sequence[str] = ()) -> str:
            pair = self.ca.issue(user, groups, usages=[CLIENT])
            return kubeconfig(cluster, api_url, certificate, user, pair).reveal()

        files = {
            f"{PKI}/ca.key": self.ca.pair.key.reveal(),
            f"{PKI}/front-proxy-ca.crt": self.front_proxy.pair.certificate,
            f"{PKI}/etcd/ca.crt": self.etcd.pair.certificate,
            f"{PKI}/sa.key": self.service_accounts[0].reveal(),
            f"{PKI}/sa.pub": self.service_accounts[1],
            ENCRYPTION: self._encryption(),
            **_pair(f"{PKI}/admin", self.ca.issue("usernetes:node-admin", ["system:masters"], usages=[CLIENT])),
            **_pair(f"{PKI}/apiserver", self.ca.issue("kube-apiserver", usages=[SERVER], names=names)),
            **_pair(f"{PKI}/apiserver-kubelet-client", self.ca.issue("kube-apiserver-kubelet-client", usages=[CLIENT])),
            **_pair(f"{PKI}/apiserver-etcd-client", self.etcd.issue("kube-apiserver", usages=[CLIENT])),
            **_pair(f"{PKI}/front-proxy-client", self.front_proxy.issue("front-proxy-client", usages=[CLIENT])),
            **_pair(
                f"{PKI}/etcd/server", self.etcd.issue("etcd", usages=[SERVER, CLIENT], names=["localhost", "127.0.0.1"])
            ),
            f"{KUBERNETES}/controller-manager.conf": credential("system:kube-controller-manager"),
            f"{KUBERNETES}/scheduler.conf": credential("system:kube-scheduler"),
            f"{KUBERNETES}/coredns.conf": credential("usernetes:coredns"),
            f"{KUBERNETES}/local-path.conf": credential("usernetes:local-path"),
            f"{KUBERNETES}/admin.conf": credential("usernetes:node-admin", ["system:masters"]),
        }
        if metrics:
            files[f"{KUBERNETES}/metrics-server.conf"] = credential("usernetes:metrics-server")
            serving = self.ca.issue(
                "metrics-server", usages=[SERVER], names=["metrics-server.kube-system.svc", node_ip]
            )
            files.update(_pair(f"{PKI}/metrics-server", serving))
        return files


def _pair(stem: str, pair: KeyPair) -> dict[str, str]:
    return {f"{stem}.crt": pair.certificate, f"{stem}.key": pair.key.reveal()}
