"""Policies tried on a running cluster: by server-side dry run, so that nothing of it changes.

For the time of a trial the policies are in the API under names of the trial's own. They look only at objects that carry
the trial's annotation, which only its dry runs do: nobody else meets them.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from usernetes_deploy.access.policies import rules
from usernetes_deploy.access.policies.document import Policy
from usernetes_deploy.access.policies.site import document_of
from usernetes_deploy.api import Api, ApiError, path_of
from usernetes_deploy.cluster.manifests import PROVISIONER
from usernetes_deploy.errors import SpecError, UsernetesError
from usernetes_deploy.waiting import until

SECONDS = 30.0
DENIED = re.compile(r"denied request: (policy .*)", re.DOTALL)
COLLECTIONS = {  # what policies look at -> (apiVersion, kind), which lists do not say of their items
    "/api/v1/pods": ("v1", "Pod"),
    "/api/v1/services": ("v1", "Service"),
    "/api/v1/persistentvolumes": ("v1", "PersistentVolume"),
    "/apis/node.k8s.io/v1/runtimeclasses": ("node.k8s.io/v1", "RuntimeClass"),
}
WITHOUT_NAMESPACE = ("PersistentVolume", "RuntimeClass")
WANTED = ("taken", "refused")
PROVISIONED = "pv.kubernetes.io/provisioned-by"
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Tests:
    """Objects that have to be taken, and objects that have to be refused."""

    taken: Sequence[Object]
    refused: Sequence[Object]


@dataclass(frozen=True)
class Outcome:
    """What became of one object: `message` is the policy's, or None when it was taken; `wanted`: taken or refused."""

    name: str
    wanted: str
    message: str | None

    @property
    def is_right(self) -> bool:
        """Whether it went as it should."""
        return (self.message is None) == (self.wanted == "taken")


def read_tests(text: str, name: str) -> Tests:
    """The tests of a file: ``taken`` and ``refused``, each a list of objects. Raises `SpecError`, `UsageError`."""
    document = document_of(text, name)
    problems = [
        (str(key), "unknown field; the fields here are taken, refused") for key in document if key not in WANTED
    ]
    for key in WANTED:
        items = document.get(key) or []
        if not isinstance(items, list):
            problems.append((key, f"expected a list of objects, got {items!r}"))
            continue
        for number, item in enumerate(items):
            metadata = item.get("metadata") if isinstance(item, dict) else None
            named = isinstance(metadata, dict) and isinstance(metadata.get("name"), str)
            if not named or not all(isinstance(item.get(part), str) for part in ("apiVersion", "kind")):
                problems.append((f"{key}[{number}]", "expected an object with apiVersion, kind and metadata.name"))
    if not problems and not any(document.get(key) for key in WANTED):
        problems.append((WANTED[0], "there is no object to try"))
    if problems:
        raise SpecError(problems, name)
    return Tests(document.get("taken") or [], document.get("refused") or [])


def run_tests(api: Api, policies: Sequence[Policy], tests: Tests) -> list[Outcome]:
    """Try every object of the tests. Raises `UsernetesError` where something else than a policy refuses one."""
    with _in_force(api, policies) as mark:
        return [
            Outcome(shown(item), wanted, _tried(api, item, mark))
            for wanted, items in (("taken", tests.taken), ("refused", tests.refused))
            for item in items
        ]


def refused_of_running(api: Api, policies: Sequence[Policy]) -> list[Outcome]:
    """Those of the cluster's objects that these policies would refuse."""
    found = []
    with _in_force(api, policies) as mark:
        for collection, (version, kind) in COLLECTIONS.items():
            for item in api.get(collection)["items"]:
                if (item["metadata"].get("annotations") or {}).get(PROVISIONED) == PROVISIONER:
                    continue  # made by a part of the cluster, which no policy binds
                whole = {"apiVersion": version, "kind": kind, "metadata": item["metadata"]}
                patch = {"metadata": {"annotations": {rules.TRIAL: mark}}}
                path = f"{path_of(whole)}?dryRun=All"
                message = _asked(api, "PATCH", path, patch, "application/merge-patch+json", gone=True)
                if message is not None:
                    found.append(Outcome(shown(whole), "taken", message))
    return found


def shown(item: Object) -> str:
    """An object for people.

    >>> shown({"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}})
    'pod b/a'
    """
    metadata = item["metadata"]
    where = "" if item["kind"] in WITHOUT_NAMESPACE else f"{metadata.get('namespace', 'default')}/"
    return f"{item['kind'].lower()} {where}{metadata['name']}"


@contextlib.contextmanager
def _in_force(api: Api, policies: Sequence[Policy]) -> Iterator[str]:
    """The policies in the API, for objects with the annotation that is yielded; taken away again."""
    mark = secrets.token_hex(4)
    tried = [policy for policy in policies if policy.name in rules.RULES]
    pairs = [rules.pair(policy, f"usernetes-trial-{mark}-{number}", mark) for number, policy in enumerate(tried)]
    try:
        for made in pairs:
            for item in made:
                api.apply(item)
        for policy in tried:
            if policy.name != "longest-grant":  # it looks at tokens alone
                until(lambda policy=policy: _is_seen(api, policy, mark), SECONDS, f"{policy.name} is in force")  # type: ignore[misc]
        yield mark
    finally:
        for policy_object, binding in pairs:
            api.delete(binding)
            api.delete(policy_object)


def _is_seen(api: Api, policy: Policy, mark: str) -> bool:
    """Whether the API server looks at the policy: the canary is refused by it, and by it alone."""
    canary = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"canary-{mark}", "labels": {rules.CANARY: policy.name}},
        "spec": {"containers": [{"name": "main", "image": f"{rules.OWN_IMAGES}/pause"}]},
    }
    return rules.CANARY_REFUSED in (_tried(api, canary, mark) or "")


def _tried(api: Api, item: Object, mark: str) -> str | None:
    metadata = item["metadata"]
    marked = {**metadata, "annotations": {**(metadata.get("annotations") or {}), rules.TRIAL: mark}}
    path = path_of(item).rpartition("/")[0]
    return _asked(api, "POST", f"{path}?dryRun=All", {**item, "metadata": marked})


def _asked(
    api: Api, method: str, path: str, body: Object, kind: str = "application/json", *, gone: bool = False
) -> str | None:
    """What the policy says that refuses it, None when none does. Raises `UsernetesError` for other refusals."""
    try:
        api.request(method, path, body, kind)
    except ApiError as error:
        if found := DENIED.search(error.reason):
            return found[1].strip()
        there = error.status == http.client.CONFLICT and error.reason.endswith("already exists")  # asked after policies
        if there or (gone and error.status == http.client.NOT_FOUND):
            return None
        raise UsernetesError(
            error.reason, tried=f"dry run of {method} {path.partition('?')[0]}", remedy="correct the object"
        ) from error
    return None
