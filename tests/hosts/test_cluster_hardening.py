"""The CIS Kubernetes Benchmark 1.9 on a real cluster: one check for each item that docs/security.md says is met.

What does not apply, or is not met, stands in the table there with its reason.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clusters import Cluster
from usernetes_deploy.node.config import KUBERNETES, PKI, RUN

pytestmark = pytest.mark.cluster
STRONG = ("_GCM_", "_CHACHA20_")
SPACE = "hardened"


@dataclass(frozen=True)
class Node:
    """The first node, as this machine's root sees it."""

    cluster: Cluster

    @cached_property
    def root(self) -> Path:
        """Its file system."""
        child = (self.cluster.node_folder(0) / "rk" / "child_pid").read_text().strip()
        return Path(f"/proc/{child}/root")

    def flags(self, program: str) -> Mapping[str, str]:
        """The command line of a program of this node: flag without dashes -> value."""
        folder = str(self.cluster.node_folder(0))
        found = []
        for pid in self.cluster.account.processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                where = Path(f"/proc/{pid}/ns/mnt").stat().st_ino
            except OSError:
                continue
            if words[0].endswith(f"/bin/{program}") and where == self.mounts:
                found.append(words[1:])
        assert len(found) == 1, f"{program} of {folder}: {found}"
        return {word.lstrip("-").partition("=")[0]: word.partition("=")[2] for word in found[0] if word.startswith("-")}

    @cached_property
    def mounts(self) -> int:
        """Its mount namespace."""
        return (self.root.parent / "ns/mnt").stat().st_ino

    @cached_property
    def kubelet(self) -> Mapping[str, Any]:
        """What its kubelet runs with, defaults included, as it says itself."""
        name = self.cluster.status()["nodes"][0]["name"]
        text = self.cluster.kubectl("get", "--raw", f"/api/v1/nodes/{name}/proxy/configz")
        found: dict[str, Any] = json.loads(text)["kubeletconfig"]
        return found

    def private(self, *paths: Path | str) -> bool:
        """Whether files are there, and the user's alone to read and write (a folder: to enter as well)."""
        for path in paths:
            found = self.inside(path).stat()
            allowed = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
            if stat.S_IMODE(found.st_mode) & ~allowed or found.st_uid != self.cluster.account.uid:
                return False
        return True

    def inside(self, path: Path | str) -> Path:
        """A path of the node's file system."""
        return self.root / str(path).lstrip("/")

    def all_of(self, folder: Path, pattern: str) -> list[str]:
        """Paths below a folder of the node's; there has to be one."""
        found = ["/" + str(path.relative_to(self.root)) for path in self.inside(folder).rglob(pattern)]
        assert found, f"no {pattern} in {folder}"
        return found

    def dry_run(self, **pod: Any) -> str:
        """What the API says of a pod in a namespace that is `restricted`; "" when it takes it."""
        container: dict[str, Any] = {
            "name": "main",
            "image": "busybox",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
                **pod.pop("securityContext", {}),
            },
            **pod.pop("container", {}),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "tried", "namespace": SPACE},
            "spec": {"containers": [container], **pod},
        }
        done = self.cluster.usernetes("kubectl", "create", "--dry-run=server", "-f", "-", stdin=json.dumps(document))
        return done.stderr if done.returncode else ""

    def objects(self, kind: str) -> list[Any]:
        """All objects of a kind."""
        found: list[Any] = json.loads(self.cluster.kubectl("get", kind, "--all-namespaces", "-o", "json"))["items"]
        return found


Check = Callable[[Node], Any]


def flag(program: str, name: str, value: str) -> Check:
    """A flag has exactly this value."""
    return lambda node: node.flags(program).get(name) == value


def given(program: str, *names: str) -> Check:
    """Flags have a value."""
    return lambda node: all(node.flags(program).get(name) for name in names)


def absent(program: str, name: str) -> Check:
    """A flag is not there, or false."""
    return lambda node: node.flags(program).get(name, "false") == "false"


def private(*paths: Path | str) -> Check:
    """Files of the node are the user's alone."""
    return lambda node: node.private(*paths)


def refused(word: str, **pod: Any) -> Check:
    """A pod in a restricted namespace is refused for a reason that has this word."""
    return lambda node: "violates PodSecurity" in (said := node.dry_run(**pod)) and word in said


def plugins(node: Node) -> list[str]:
    """Admission plugins beyond the default ones."""
    return node.flags("kube-apiserver")["enable-admission-plugins"].split(",")


def policy(node: Node) -> list[dict[str, Any]]:
    """The rules of the audit policy."""
    path = node.flags("kube-apiserver")["audit-policy-file"]
    rules: list[dict[str, Any]] = json.loads(node.inside(path).read_text())["rules"]
    return rules


def strong(suites: str | list[str]) -> bool:
    """Whether all cipher suites are authenticated ones, with keys that nobody keeps."""
    names = suites.split(",") if isinstance(suites, str) else suites
    return bool(names) and all(any(word in name for word in STRONG) and "ECDHE" in name for name in names)


def administrators(node: Node) -> set[str]:
    """Who is bound to cluster-admin."""
    bound = [one for one in node.objects("clusterrolebindings") if one["roleRef"]["name"] == "cluster-admin"]
    return {subject["name"] for one in bound for subject in one.get("subjects", [])}


def bound_accounts(node: Node) -> set[str]:
    """The service accounts named `default` that have a role."""
    bindings = node.objects("clusterrolebindings") + node.objects("rolebindings")
    subjects = [subject for one in bindings for subject in one.get("subjects", [])]
    return {one["namespace"] for one in subjects if one["kind"] == "ServiceAccount" and one["name"] == "default"}


def wildcards(node: Node) -> list[str]:
    """Roles of usernetes' own that allow everything of something."""
    roles = [one for one in node.objects("clusterroles") if one["metadata"]["name"].startswith("usernetes")]
    assert roles
    return [
        one["metadata"]["name"]
        for one in roles
        for rule in one["rules"]
        if "*" in [*rule.get("resources", []), *rule["verbs"], *rule.get("apiGroups", [])]
    ]


API, MANAGER, SCHEDULER, ETCD = "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"
CHECKS: dict[str, Check] = {
    "1.1.9": lambda node: node.private(*(str(path) for path in (node.cluster.node_folder(0) / "cni").iterdir())),
    "1.1.11": lambda node: node.private(node.cluster.node_folder(0) / "etcd"),
    "1.1.13": private(KUBERNETES / "admin.conf"),
    "1.1.15": private(KUBERNETES / "scheduler.conf"),
    "1.1.17": private(KUBERNETES / "controller-manager.conf"),
    "1.1.19": lambda node: node.inside(PKI).stat().st_uid == node.cluster.account.uid,
    "1.1.20": lambda node: node.private(*node.all_of(PKI, "*.crt")),
    "1.1.21": lambda node: node.private(*node.all_of(PKI, "*.key")),
    "1.2.1": flag(API, "anonymous-auth", "false"),
    "1.2.2": absent(API, "token-auth-file"),
    "1.2.4": given(API, "kubelet-client-certificate", "kubelet-client-key"),
    "1.2.5": given(API, "kubelet-certificate-authority"),
    "1.2.6": lambda node: "AlwaysAllow" not in node.flags(API)["authorization-mode"],
    "1.2.7": lambda node: "Node" in node.flags(API)["authorization-mode"].split(","),
    "1.2.8": lambda node: "RBAC" in node.flags(API)["authorization-mode"].split(","),
    "1.2.10": lambda node: "AlwaysAdmit" not in plugins(node),
    "1.2.12": absent(API, "disable-admission-plugins"),
    "1.2.13": absent(API, "disable-admission-plugins"),
    "1.2.14": lambda node: "NodeRestriction" in plugins(node),
    "1.2.15": flag(API, "profiling", "false"),
    "1.2.16": given(API, "audit-log-path"),
    "1.2.17": lambda node: int(node.flags(API)["audit-log-maxage"]) >= 30,
    "1.2.18": lambda node: int(node.flags(API)["audit-log-maxbackup"]) >= 10,
    "1.2.19": given(API, "audit-log-maxsize"),
    "1.2.20": absent(API, "request-timeout"),
    "1.2.21": lambda node: node.flags(API).get("service-account-lookup", "true") == "true",
    "1.2.22": given(API, "service-account-key-file"),
    "1.2.23": given(API, "etcd-certfile", "etcd-keyfile"),
    "1.2.24": given(API, "tls-cert-file", "tls-private-key-file"),
    "1.2.25": given(API, "client-ca-file"),
    "1.2.26": given(API, "etcd-cafile"),
    "1.2.27": given(API, "encryption-provider-config"),
    "1.2.28": lambda node: (
        "secretbox"
        in json.loads(node.inside(node.flags(API)["encryption-provider-config"]).read_text())["resources"][0][
            "providers"
        ][0]
    ),
    "1.2.29": lambda node: strong(node.flags(API)["tls-cipher-suites"]),
    "1.3.2": flag(MANAGER, "profiling", "false"),
    "1.3.3": flag(MANAGER, "use-service-account-credentials", "true"),
    "1.3.4": given(MANAGER, "service-account-private-key-file"),
    "1.3.5": given(MANAGER, "root-ca-file"),
    "1.3.7": flag(MANAGER, "bind-address", "127.0.0.1"),
    "1.4.1": flag(SCHEDULER, "profiling", "false"),
    "1.4.2": flag(SCHEDULER, "bind-address", "127.0.0.1"),
    "2.1": given(ETCD, "cert-file", "key-file"),
    "2.2": flag(ETCD, "client-cert-auth", "true"),
    "2.3": absent(ETCD, "auto-tls"),
    "2.4": given(ETCD, "peer-cert-file", "peer-key-file"),
    "2.5": flag(ETCD, "peer-client-cert-auth", "true"),
    "2.6": absent(ETCD, "peer-auto-tls"),
    "2.7": lambda node: node.inside(PKI / "etcd/ca.crt").read_bytes() != node.inside(PKI / "ca.crt").read_bytes(),
    "3.1.3": absent(API, "enable-bootstrap-token-auth"),
    "3.2.1": given(API, "audit-policy-file"),
    "3.2.2": lambda node: policy(node)[-1] == {"level": "Metadata"},
    "4.1.3": private(KUBERNETES / "kube-proxy.conf"),
    "4.1.5": private(KUBERNETES / "kubelet.conf"),
    "4.1.7": private(PKI / "ca.crt"),
    "4.1.9": private(RUN / "kubelet.json"),
    "4.2.1": lambda node: node.kubelet["authentication"]["anonymous"]["enabled"] is False,
    "4.2.2": lambda node: node.kubelet["authorization"]["mode"] == "Webhook",
    "4.2.3": lambda node: node.kubelet["authentication"]["x509"]["clientCAFile"] == str(PKI / "ca.crt"),
    "4.2.4": lambda node: not node.kubelet.get("readOnlyPort"),
    "4.2.5": lambda node: node.kubelet["streamingConnectionIdleTimeout"] != "0s",
    "4.2.8": lambda node: node.kubelet["eventRecordQPS"] > 0,
    "4.2.9": lambda node: node.kubelet["tlsCertFile"] and node.kubelet["tlsPrivateKeyFile"],
    "4.2.12": lambda node: strong(node.kubelet["tlsCipherSuites"]),
    "4.3.1": lambda node: '"metricsBindAddress": ""' not in node.inside(RUN / "kube-proxy.json").read_text(),
    "5.1.1": lambda node: administrators(node) == {"system:masters"},
    "5.1.3": lambda node: wildcards(node) == [],
    "5.1.5": lambda node: bound_accounts(node) == set(),
    "5.2.1": lambda node: node.dry_run() == "" and "violates PodSecurity" in node.dry_run(hostNetwork=True),
    "5.2.2": refused("privileged", securityContext={"privileged": True, "allowPrivilegeEscalation": True}),
    "5.2.3": refused("hostPID", hostPID=True),
    "5.2.4": refused("hostIPC", hostIPC=True),
    "5.2.5": refused("hostNetwork", hostNetwork=True),
    "5.2.6": refused("allowPrivilegeEscalation", securityContext={"allowPrivilegeEscalation": True}),
    "5.2.7": refused("runAsNonRoot", securityContext={"runAsNonRoot": False}),
    "5.2.8": refused("NET_RAW", securityContext={"capabilities": {"add": ["NET_RAW"], "drop": ["ALL"]}}),
    "5.2.9": refused("SYS_ADMIN", securityContext={"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}),
    "5.2.10": refused("capabilities", securityContext={"capabilities": {}}),
    "5.2.12": refused("hostPath", volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    "5.2.13": refused("hostPort", container={"ports": [{"containerPort": 80, "hostPort": 8080}]}),
    "5.7.2": refused("seccompProfile", securityContext={"seccompProfile": {"type": "Unconfined"}}),
}


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Any:
    cluster.kubectl("create", "namespace", SPACE)
    cluster.kubectl("label", "namespace", SPACE, "pod-security.kubernetes.io/enforce=restricted")
    yield Node(cluster)
    cluster.kubectl("delete", "namespace", SPACE)


@pytest.mark.parametrize("item", CHECKS)
def test_an_item_that_is_said_to_be_met_is_met(node: Node, item: str) -> None:
    assert CHECKS[item](node)


def test_a_program_that_is_not_there_is_no_pass(node: Node) -> None:
    with pytest.raises(AssertionError, match="no-such-program"):
        node.flags("no-such-program")
    assert not node.private("/etc")
