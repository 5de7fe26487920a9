"""Labels and taints of nodes, by Kubernetes' rules for what a kubelet may say of its own Node."""

from __future__ import annotations

import re

_PREFIX = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_WORD = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# Of kubernetes.io and k8s.io a kubelet may set these alone; with others it does not start.
ALLOWED = {
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
}
ALLOWED_PREFIXES = ("node.kubernetes.io", "kubelet.kubernetes.io")
OURS = "usernetes.dev"


def wrong_label(key: str, value: str) -> str:
    """What is wrong with a label; "" when nothing is.

    >>> wrong_label("rack", "r 1")
    "expected a value of letters, digits, -, _ and . (at most 63), got 'r 1'"
    >>> wrong_label("node-role.kubernetes.io/gpu", "")
    'node-role.kubernetes.io is reserved: a kubelet may not set it (usernetes kubectl label node NAME ... may)'
    """
    if problem := wrong_key(key):
        return problem
    if value and not _WORD.match(value):
        return f"expected a value of letters, digits, -, _ and . (at most 63), got {value!r}"
    return ""


def wrong_key(key: str) -> str:
    """What is wrong with the key of a label or taint; "" when nothing is."""
    prefix, slash, name = key.rpartition("/")
    if not _WORD.match(name) or (slash and (not _PREFIX.match(prefix) or len(prefix) > 253)):
        return f"expected a key as rack or example.org/rack, got {key!r}"
    if prefix == OURS or prefix.endswith(f".{OURS}"):
        return f"{prefix} is ours: choose another prefix"
    reserved = prefix in ("kubernetes.io", "k8s.io") or prefix.endswith((".kubernetes.io", ".k8s.io"))
    if reserved and key not in ALLOWED and not prefix.endswith(ALLOWED_PREFIXES):
        return f"{prefix} is reserved: a kubelet may not set it (usernetes kubectl label node NAME ... may)"
    return ""


def wrong_taint(text: str) -> str:
    """What is wrong with a taint as text; "" when nothing is.

    >>> wrong_taint("gpu=yes:NoSchedule"), wrong_taint("gpu")
    ('', "expected KEY=VALUE:EFFECT or KEY:EFFECT (NoSchedule, PreferNoSchedule, NoExecute), got 'gpu'")
    """
    rest, colon, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    if not colon or effect not in EFFECTS:
        return f"expected KEY=VALUE:EFFECT or KEY:EFFECT ({', '.join(EFFECTS)}), got {text!r}"
    return wrong_label(key, value)
