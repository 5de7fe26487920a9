"""The API server's audit log: who did what. Written on the first node's disk, read there, so that little travels.

Bodies are never written, only metadata: no Secret and no token can be in it. What components do at rest (reports of the
nodes, leases, watches) is left out: it is most of what an API server does, and nobody's doing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy.node.config import RUN, NodeConfig

POLICY = RUN / "audit-policy.json"
FOLDER = "audit"  # in the folder of the logs: `down --keep-logs` keeps it
LOG = "audit.log"
MEGABYTES, KEPT, DAYS = 10, 10, 30  # of one file; how many beside the one that is written, and for how long
_COMPONENTS = [
    *("system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"),
    *("usernetes:coredns", "usernetes:local-path", "usernetes:metrics-server", "usernetes:node-admin"),
    *("usernetes:flannel", "kube-apiserver-kubelet-client"),
]
_GROUPS = ["system:nodes", "system:serviceaccounts:kube-system"]
_READING = ["get", "list", "watch"]
_REPORTS = [
    {"group": "", "resources": ["events", "endpoints", "nodes/status", "pods/status", "serviceaccounts/token"]},
    {"group": "events.k8s.io", "resources": ["events"]},
    {"group": "coordination.k8s.io", "resources": ["leases"]},
    {"group": "discovery.k8s.io", "resources": ["endpointslices"]},
    {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
    {"group": "authorization.k8s.io", "resources": ["subjectaccessreviews"]},
]
_ASKED_BY_EVERY_CLIENT = ["/", "/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version"]
_ASKED_BY_EVERY_CLIENT += ["/healthz*", "/livez*", "/readyz*"]
FIELDS = ("time", "user", "as", "verb", "resource", "namespace", "name", "code", "source", "agent")
"""Of an event as it is shown: text, but `code`, which is the HTTP status. `as` is whom the user impersonated."""


def policy() -> dict[str, Any]:
    """The audit policy, as ``audit.k8s.io/v1`` has it."""
    quiet: list[dict[str, Any]] = [
        {"nonResourceURLs": _ASKED_BY_EVERY_CLIENT, "verbs": ["get"]},
        {"users": _COMPONENTS, "verbs": _READING},
        {"userGroups": _GROUPS, "verbs": _READING},
        {"users": _COMPONENTS, "resources": _REPORTS},
        {"userGroups": _GROUPS, "resources": _REPORTS},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [*({"level": "None", **rule} for rule in quiet), {"level": "Metadata"}],
    }


def flags(config: NodeConfig) -> list[str]:
    """What the API server is told; nothing where the spec's `access.audit` is false."""
    if not config.audit:
        return []
    return [
        f"--audit-policy-file={POLICY}",
        f"--audit-log-path={config.logs / FOLDER / LOG}",
        f"--audit-log-maxsize={MEGABYTES}",
        f"--audit-log-maxbackup={KEPT}",
        f"--audit-log-maxage={DAYS}",
        "--audit-log-mode=batch",  # an answer does not wait for the disk
    ]


def events(logs: Path, *, since: str = "", user: str = "", verbs: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """What is in a node's log, oldest first, as `FIELDS`: from the time `since` on, of one user, of some verbs.

    `since` is as the API writes times: ``2026-01-02T12:00:00.000000Z``. Files that go while they are read are left out.
    """
    for event in _with_word(logs, user):
        if event["time"] >= since and user in ("", event["user"]) and (not verbs or event["verb"] in verbs):
            yield event


def last_use(logs: Path, prefix: str) -> dict[str, str]:
    """When each user whose name begins with `prefix` asked last, by the rest of the name."""
    found = (event for event in _with_word(logs, prefix) if event["user"].startswith(prefix))
    return {event["user"].removeprefix(prefix): event["time"] for event in found}


def _with_word(logs: Path, word: str) -> Iterator[dict[str, Any]]:
    """The events whose lines have a word: most lines have not, and are not worth to be parsed."""
    for path in _files(logs / FOLDER):
        with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as lines:
            yield from filter(None, (_event(line) for line in lines if word in line))


def _files(folder: Path) -> list[Path]:
    """Those that were put aside, ``audit-TIME.log``, and then the one that is written."""
    return [*sorted(folder.glob("audit-*.log")), folder / LOG]


def _event(line: str) -> dict[str, Any] | None:
    """One line as `FIELDS`; None for one that is not whole (it is being written)."""
    try:
        event = json.loads(line)
        what = event.get("objectRef") or {}
        kind = "/".join(filter(None, (what.get("resource"), what.get("subresource"))))
        return {
            "time": event["requestReceivedTimestamp"],
            "user": event["user"]["username"],
            "as": (event.get("impersonatedUser") or {}).get("username", ""),
            "verb": event["verb"],
            "resource": kind or event["requestURI"].partition("?")[0],
            "namespace": what.get("namespace", ""),
            "name": what.get("name", ""),
            "code": (event.get("responseStatus") or {}).get("code", 0),
            "source": ", ".join(event.get("sourceIPs") or ()),
            "agent": event.get("userAgent", "").partition(" ")[0],
        }
    except (ValueError, KeyError, TypeError):
        return None
