"""The Kubernetes objects that a grant is made of; nothing here speaks to a cluster."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from usernetes_deploy.cluster.files import Kubeconfig
from usernetes_deploy.errors import Secret

HOME = "usernetes-grants"  # the ServiceAccounts are here: no role in another namespace can make tokens of them
LABEL = "usernetes.dev/grant"
ROLE, WHERE, ENDS, LEVEL = (f"usernetes.dev/grant-{word}" for word in ("role", "namespace", "ends", "pod-security"))
EVERYWHERE = "*"
POD_SECURITY = "pod-security.kubernetes.io/enforce"
PREEMPTING = ("urgent", "system-cluster-critical", "system-node-critical")
Object = dict[str, Any]


def namespace(name: str, level: str, grant: str | None = None) -> Object:
    """A namespace whose pods must be as `level` says (restricted, baseline, privileged)."""
    labels = {POD_SECURITY: level, **({LABEL: grant} if grant else {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(name: str, annotations: Mapping[str, str]) -> Object:
    """The ServiceAccount; what was granted stands in its annotations, so that the API alone is the record."""
    metadata = {"name": name, "namespace": HOME, "labels": {LABEL: name}, "annotations": dict(annotations)}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def role(name: str, where: str, rules: Sequence[Mapping[str, Any]]) -> Object:
    """Rights of the grant's own: a Role of the namespace, or a ClusterRole."""
    return {**_scoped("Role", name, where), "rules": [dict(rule) for rule in rules]}


def binding(name: str, where: str, kind: str, reference: str) -> Object:
    """What gives the account the role `reference` of `kind` (Role, ClusterRole) in its namespace, or everywhere."""
    return {
        **_scoped("RoleBinding", name, where),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": reference},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": HOME}],
    }


def quota(name: str, where: str, hard: Mapping[str, str]) -> list[Object]:
    """A ResourceQuota, and a LimitRange that gives pods requests where they have none: else a quota refuses them."""
    metadata = {"name": object_name(name), "namespace": where, "labels": {LABEL: name}}
    requests = {key: value for key, value in {"cpu": "100m", "memory": "128Mi"}.items() if key in hard}
    made: list[Object] = [
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": dict(hard)}}
    ]
    if requests:
        limits = [{"type": "Container", "defaultRequest": requests}]
        made.append({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}})
    return made


def no_precedence(name: str, where: str) -> Object:
    """A ResourceQuota that allows no pod of a class which takes the place of others' pods."""
    metadata = {"name": f"{object_name(name)}-urgent", "namespace": where, "labels": {LABEL: name}}
    classes = {"scopeName": "PriorityClass", "operator": "In", "values": list(PREEMPTING)}
    spec = {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [classes]}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}


def kubeconfig(cluster: str, name: str, where: str, server: Kubeconfig, token: Secret) -> Secret:
    """A kubeconfig (JSON, which is YAML) that holds the token and nothing else that is secret."""
    entry = f"{cluster}-{name}"
    context = {"cluster": cluster, "user": name, **({} if where == EVERYWHERE else {"namespace": where})}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": dict(server.cluster)}],
        "users": [{"name": name, "user": {"token": token.reveal()}}],
        "contexts": [{"name": entry, "context": context}],
        "current-context": entry,
    }
    return Secret(json.dumps(document, indent=1) + "\n")


def token_request(seconds: int) -> Object:
    """What is sent to a ServiceAccount's ``token`` subresource."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }


def object_name(grant: str) -> str:
    """How the objects of a grant are named in other namespaces.

    >>> object_name("agent")
    'usernetes-grant-agent'
    """
    return f"usernetes-grant-{grant}"


def token_ends(token: str) -> int:
    """When a token ends, in seconds since 1970, as it says itself."""
    body = token.split(".")[1]
    return int(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])


def _scoped(kind: str, name: str, where: str) -> Object:
    metadata: Object = {"name": object_name(name), "labels": {LABEL: name}}
    if where == EVERYWHERE:
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": f"Cluster{kind}", "metadata": metadata}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {**metadata, "namespace": where}}
