"""What a grant is asked to be, read from flags; everything that can be said without the cluster is said here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from usernetes_deploy import schema
from usernetes_deploy.access import durations
from usernetes_deploy.access.objects import EVERYWHERE
from usernetes_deploy.errors import UsageError

ROLES = ("view", "edit", "admin")
LEVELS = ("restricted", "baseline", "privileged")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTP]i?)?")
SHORTEST = 600  # seconds: the API gives no token for less
READING = {"get", "list", "watch"}
HARMLESS = {"configmaps", "services", "events", "leases", "endpoints", "persistentvolumeclaims"}  # to write to
RULE_FIELDS = {"apiGroups", "resources", "verbs", "resourceNames", "nonResourceURLs"}


@dataclass(frozen=True)
class Wish:
    """A grant as asked for: `seconds` is how long it is valid, `where` a namespace or ``*``.

    `role` is one of `ROLES`, or the name of the file that `rules` were read from; `verbs` are the only ones that are
    left of the role's, all of them when empty. `quota` is the `hard` of a ResourceQuota.
    """

    name: str
    role: str
    where: str
    seconds: int
    verbs: tuple[str, ...] = ()
    rules: tuple[Mapping[str, Any], ...] = ()
    quota: Mapping[str, str] = field(default_factory=dict)
    level: str = "restricted"


def wish(
    name: str,
    *,
    role: str = "view",
    namespace: str = "default",
    length: str = "1h",
    longest: str = "24h",
    verbs: str = "",
    quota: str = "",
    level: str = "restricted",
) -> Wish:
    """Read a wish; raises `UsageError` for the first thing that is wrong.

    >>> wish("agent", role="edit", namespace="runs", length="8h", quota="cpu=8,pods=50").quota
    {'cpu': '8', 'pods': '50'}
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"expected a name of lower-case letters, digits and dashes (at most 40), got {name!r}")
    if namespace != EVERYWHERE and not NAME.fullmatch(namespace):
        raise UsageError(f"--namespace: expected the name of a namespace, or '*' for all, got {namespace!r}")
    if namespace.startswith("kube-") or namespace == "usernetes-grants":
        raise UsageError(
            f"--namespace: {namespace} is the cluster's own: rights there are the administrator's",
            remedy="another namespace; one that does not exist is made",
        )
    if level not in LEVELS:
        raise UsageError(f"--pod-security: expected one of {', '.join(LEVELS)}, got {level!r}")
    seconds, most = durations.seconds(length, "--for"), durations.seconds(longest, "access.longestGrant")
    if not SHORTEST <= seconds <= most:
        raise UsageError(f"--for: expected {SHORTEST // 60}m to {longest} (access.longestGrant), got {length}")
    if quota and namespace == EVERYWHERE:
        raise UsageError("--quota holds in one namespace, and the grant is for all of them")
    rules = () if role in ROLES else tuple(read_rules(role))
    kept = tuple(filter(None, verbs.split(",")))
    return Wish(name, role, namespace, seconds, kept, rules, read_quota(quota), level)


def read_quota(text: str) -> dict[str, str]:
    """``cpu=8,pods=50`` as the `hard` of a ResourceQuota.

    >>> read_quota("memory=16Gi")
    {'memory': '16Gi'}
    """
    made: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not (separator and key and QUANTITY.fullmatch(value)):
            raise UsageError(f"--quota: expected RESOURCE=QUANTITY as cpu=8,memory=16Gi,pods=50, got {part!r}")
        made[key] = value
    return made


def read_rules(source: str) -> list[dict[str, Any]]:
    """The rules of a file: a list of them, or a Role or ClusterRole. Raises `UsageError`."""
    known = f"expected {', '.join(ROLES)} or a file with rules"
    if not re.search(r"[/.]", source):
        raise UsageError(f"--role: {known}, got {source!r}")
    try:
        document = schema.parse_yaml(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--role: {known}: {error.strerror}: {source}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--role: {source} is not YAML: {' '.join(str(error).split())}") from error
    rules = document.get("rules") if isinstance(document, dict) else document
    if not isinstance(rules, list) or not rules or not all(_is_rule(rule) for rule in rules):
        raise UsageError(
            f"--role: {source} is no list of rules, each with apiGroups, resources and verbs",
            remedy="usernetes kubectl get clusterrole view --output=yaml shows how they are written",
        )
    return [dict(rule) for rule in rules]


def narrowed(rules: Sequence[Mapping[str, Any]], verbs: Sequence[str]) -> list[dict[str, Any]]:
    """The rules with only these verbs left; those that lose all are left out.

    >>> narrowed([{"resources": ["pods"], "verbs": ["get", "delete"]}], ["get"])
    [{'resources': ['pods'], 'verbs': ['get']}]
    """
    kept = []
    for rule in rules:
        left = list(verbs) if "*" in rule["verbs"] else [verb for verb in rule["verbs"] if verb in verbs]
        if left:
            kept.append({**rule, "verbs": left})
    return kept


def may_start_pods(rules: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the rules could start a pod or enter one; kinds that nobody here knows count as ones that can.

    >>> may_start_pods([{"resources": ["pods", "pods/log"], "verbs": ["get"]}])
    False
    >>> may_start_pods([{"resources": ["pods/exec"], "verbs": ["get"]}])
    True
    """
    for rule in rules:
        for resource in rule.get("resources", ()):
            kind, _, part = resource.partition("/")
            inward = kind in ("pods", "nodes", "services") and part not in ("", "log", "status")
            writes = kind not in HARMLESS and not set(rule["verbs"]) <= READING
            if kind == "*" or inward or writes:
                return True
    return False


def _is_rule(rule: Any) -> bool:
    if not isinstance(rule, dict) or not set(rule) <= RULE_FIELDS or not rule.get("verbs"):
        return False
    return all(isinstance(item, list) and all(isinstance(word, str) for word in item) for item in rule.values())
