"""Grants: made, listed, revoked, all by Kubernetes' own means.

A grant is a ServiceAccount in a namespace of its own kind (`objects.HOME`), a binding to a role, and a token that the
API gives for a time (TokenRequest). The kubeconfig that holds the token is a 0600 file of the state directory.

>>> made = grant(state, wish("agent", role="edit", namespace="runs"))  # doctest: +SKIP
>>> made.kubeconfig  # doctest: +SKIP
PosixPath('/home/ada/.local/state/usernetes/default/grants/agent')
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from usernetes_deploy.access import objects
from usernetes_deploy.access.policies.driver import check_grant
from usernetes_deploy.access.policies.site import of_cluster
from usernetes_deploy.access.wishes import LEVELS, ROLES, Wish, may_start_pods, narrowed
from usernetes_deploy.api import Api, ApiError
from usernetes_deploy.cluster.files import read_kubeconfig, write_private
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import Secret, UsageError, UsernetesError

FOLDER = "grants"  # in the state directory: it goes with the cluster
ACCOUNTS = f"/api/v1/namespaces/{objects.HOME}/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Grant:
    """A grant that was made. Times are in UTC; `kubeconfig` may be gone, or on another machine.

    `last_use` is None where it was not used, or where no audit trail tells.
    """

    name: str
    role: str
    where: str
    ends: datetime
    kubeconfig: Path
    last_use: datetime | None = None

    def is_over(self, now: datetime | None = None) -> bool:
        """Whether its token has ended."""
        return self.ends <= (now or datetime.now(UTC))

    def document(self) -> dict[str, Any]:
        """For ``--json``: ``namespace`` is ``*`` for all; ``kubeconfig`` None where it is not on this machine."""
        return {
            "name": self.name,
            "role": self.role,
            "namespace": self.where,
            "ends": self.ends.isoformat(),
            "over": self.is_over(),
            "lastUse": self.last_use.isoformat() if self.last_use else None,
            "kubeconfig": str(self.kubeconfig) if self.kubeconfig.exists() else None,
        }


def grant(state: ClusterState, wish: Wish) -> Grant:
    """Make what is wished. Raises `UsageError` for what cannot be, `UsernetesError` of the API: nothing is left."""
    check_grant(of_cluster(state), wish.seconds)
    with state.locked(), _api(state) as api:
        _refuse_taken(api, state, wish.name)
        rules = _rules(api, wish)
        fresh = _checked_namespace(api, wish, strong=may_start_pods(rules) if rules else wish.role != "view")
        try:
            _apply(api, wish, rules, fresh=fresh)
            token = Secret(_token(api, wish))
            ends = datetime.fromtimestamp(objects.token_ends(token.reveal()), UTC)
            annotations = {objects.ROLE: wish.role, objects.WHERE: wish.where, objects.ENDS: ends.isoformat()}
            api.apply(objects.account(wish.name, {**annotations, objects.LEVEL: wish.level}))
            server = read_kubeconfig(state.kubeconfig)
            path = _write(state, wish.name, objects.kubeconfig(state.name, wish.name, wish.where, server, token))
        except BaseException:
            with contextlib.suppress(UsernetesError):
                _take_back(api, wish.name, wish.where)
                if fresh:
                    api.delete(objects.namespace(wish.where, wish.level))
            _file(state, wish.name).unlink(missing_ok=True)
            raise
        return Grant(wish.name, wish.role, wish.where, ends, path)


def listing(state: ClusterState, used: Mapping[str, datetime] | None = None) -> list[Grant]:
    """All grants of a cluster by name, also those that are over; `used` is when each was used last (`trail`)."""
    with _api(state) as api:
        found = sorted(_all(api, state), key=lambda one: one.name)
    return [dataclasses.replace(one, last_use=(used or {}).get(one.name)) for one in found]


def revoke(state: ClusterState, name: str) -> list[str]:
    """End a grant at once; returns what the administrator should know, a line each. Raises `UsageError` for no grant.

    Its rights go first, so that the API refuses (403) everything from then on; with the account goes the token (401),
    which the API may keep in mind for 10 seconds.
    """
    with state.locked(), _api(state) as api:
        found = next((one for one in _all(api, state) if one.name == name), None)
        if found is None:
            raise UsageError(f"there is no grant named {name}", remedy="usernetes grants")
        created = str(api.get(f"{ACCOUNTS}/{name}")["metadata"]["creationTimestamp"])
        _take_back(api, name, found.where)
        found.kubeconfig.unlink(missing_ok=True)
        return _left_behind(api, found, created)


def _refuse_taken(api: Api, state: ClusterState, name: str) -> None:
    for known in _all(api, state):
        if known.name == name and not known.is_over():
            raise UsageError(
                f"a grant named {name} is valid until {known.ends:%Y-%m-%d %H:%M} UTC",
                remedy=f"usernetes revoke {name}, or another name",
            )
        if known.name == name:
            _take_back(api, name, known.where)  # it is over; its remains would be in the way


def _rules(api: Api, wish: Wish) -> list[dict[str, Any]]:
    """The rules of a role of the grant's own; none where it is bound to one of Kubernetes' as it is."""
    if wish.role in ROLES and not wish.verbs:
        return []
    found: list[dict[str, Any]] = list(map(dict, wish.rules))
    if wish.role in ROLES:
        found = list(api.get(f"{RBAC}/clusterroles/{wish.role}")["rules"])
    made = narrowed(found, wish.verbs) if wish.verbs else found
    if not made:
        raise UsageError(f"--verbs: {wish.role} has none of {', '.join(wish.verbs)}, so the grant would allow nothing")
    return made


def _checked_namespace(api: Api, wish: Wish, *, strong: bool) -> bool:
    """Whether the namespace has to be made. One whose pods may reach the host's files is refused, unless that is said.

    A pod runs as the user whose cluster it is: with a hostPath volume it reads all that the user can. `strong`: the
    grant can start pods, or enter them.
    """
    level, found, label = "privileged", None, ""
    if wish.where != objects.EVERYWHERE:
        found = _existing(api, f"/api/v1/namespaces/{wish.where}")
        if found is None:
            return True
        level = (found["metadata"].get("labels") or {}).get(objects.POD_SECURITY, "privileged")
        label = f", or: usernetes kubectl label namespace {wish.where} {objects.POD_SECURITY}={wish.level}"
    strict = LEVELS.index(level) if level in LEVELS else len(LEVELS)
    if strong and strict > LEVELS.index(wish.level):
        where = f"the namespace {wish.where}" if found else "some namespaces"
        raise UsageError(
            f"pods of {where} may be {level}: whoever may start or enter them could read your files",
            remedy=f"--namespace with a new name (it is made), or --pod-security {level} to allow it all the same"
            + label,
        )
    return False


def _apply(api: Api, wish: Wish, rules: list[dict[str, Any]], *, fresh: bool) -> None:
    api.apply(objects.namespace(objects.HOME, "restricted"))
    if fresh:
        api.apply(objects.namespace(wish.where, wish.level, wish.name))
        api.apply(objects.no_precedence(wish.name, wish.where))
    api.apply(objects.account(wish.name, {}))
    if rules:
        api.apply(objects.role(wish.name, wish.where, rules))
    for made in objects.quota(wish.name, wish.where, wish.quota) if wish.quota else []:
        api.apply(made)
    scope = "ClusterRole" if not rules or wish.where == objects.EVERYWHERE else "Role"
    reference = objects.object_name(wish.name) if rules else wish.role
    api.apply(objects.binding(wish.name, wish.where, scope, reference))


def _take_back(api: Api, name: str, where: str) -> None:
    """Everything of a grant but the namespace; the binding first, for it is what gives rights."""
    api.delete(objects.binding(name, where, "Role", ""))
    api.delete(objects.account(name, {}))
    api.delete(objects.role(name, where, []))
    if where != objects.EVERYWHERE:
        for made in [*objects.quota(name, where, {"cpu": "1"}), objects.no_precedence(name, where)]:
            api.delete(made)


def _token(api: Api, wish: Wish) -> str:
    request = objects.token_request(wish.seconds)
    return str(api.request("POST", f"{ACCOUNTS}/{wish.name}/token", request)["status"]["token"])


def _left_behind(api: Api, grant: Grant, since: str) -> list[str]:
    """What the grant's holder may have made in its namespace that gives rights still."""
    if grant.role == "view" or grant.where == objects.EVERYWHERE:
        return []
    core, tokens = f"/api/v1/namespaces/{grant.where}", "?fieldSelector=type%3Dkubernetes.io/service-account-token"
    lines = []
    for kind, path in (
        ("serviceaccount", f"{core}/serviceaccounts"),
        ("secret", f"{core}/secrets{tokens}"),
        ("rolebinding", f"{RBAC}/namespaces/{grant.where}/rolebindings"),
    ):
        made = [
            item["metadata"]["name"]
            for item in api.get(path)["items"]
            if item["metadata"]["creationTimestamp"] >= since and item["metadata"]["name"] != "default"
        ]
        if made:
            lines.append(
                f"made in {grant.where} since the grant, and may give rights still: {kind} {', '.join(made)}\n"
                f"  fix: usernetes kubectl delete {kind} --namespace {grant.where} {' '.join(made)}"
            )
    return lines


def _all(api: Api, state: ClusterState) -> Iterator[Grant]:
    found = _existing(api, ACCOUNTS) or {"items": []}
    for item in found["items"]:
        metadata: Mapping[str, Any] = item["metadata"]
        notes = metadata.get("annotations") or {}
        if objects.LABEL in (metadata.get("labels") or {}) and objects.ENDS in notes:
            name = str(metadata["name"])
            ends = datetime.fromisoformat(notes[objects.ENDS])
            yield Grant(name, str(notes[objects.ROLE]), str(notes[objects.WHERE]), ends, _file(state, name))


def _existing(api: Api, path: str) -> Any:
    try:
        return api.get(path)
    except ApiError as error:
        if error.status != http.client.NOT_FOUND:
            raise
        return None


@contextlib.contextmanager
def _api(state: ClusterState) -> Iterator[Api]:
    api = state.api()
    try:
        yield api
    finally:
        api.close()


def _file(state: ClusterState, name: str) -> Path:
    return state.directory / FOLDER / name


def _write(state: ClusterState, name: str, content: Secret) -> Path:
    path = _file(state, name)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        found = path.parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UsernetesError("it is no folder of yours", tried=f"write to {path.parent}")
        write_private(path, content.reveal())
    except OSError as error:
        raise UsernetesError(error.strerror or str(error), tried=f"write {path}") from error
    return path
