"""A small client of the Kubernetes API: get, apply, delete, over one kept connection.

For what the product itself asks (readiness, a few objects of its own); everything else is kubectl's. Standard library
only, because the first node uses it too.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Union

from usernetes_deploy.errors import TimedOut, UsernetesError

FIELD_MANAGER = "usernetes"
PLURALS = {"Endpoints": "endpoints", "NetworkPolicy": "networkpolicies", "StorageClass": "storageclasses",
           "RuntimeClass": "runtimeclasses", "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
           "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
           "PriorityClass": "priorityclasses"}  # fmt: skip
CLUSTER_SCOPED = {
    "Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "StorageClass", "RuntimeClass", "PersistentVolume",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding", "APIService", "PriorityClass",
    "CustomResourceDefinition",
}  # fmt: skip


class ApiError(UsernetesError):
    """The API refused or could not be reached; `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, reason: str, status: int = 0, *, tried: str | None = None):
        super().__init__(reason, tried=tried)
        self.status = status


def is_momentary(error: BaseException) -> bool:
    """Whether asking again may help: there was no answer, or one of a server that starts or has too much to do."""
    status = getattr(error, "status", None)
    return isinstance(error, TimedOut) or (status is not None and (status in (0, 429) or status >= 500))


Context = Union[ssl.SSLContext, Callable[[], ssl.SSLContext]]
"""What a connection is made with, or what makes that: for who lives longer than a certificate."""


def context_of_now(context: Context) -> ssl.SSLContext:
    """The context for a connection that is made now."""
    return context if isinstance(context, ssl.SSLContext) else context()


class Api:
    """One API server, asked with one client certificate. Safe to use from several threads, one request at a time.

    >>> api = Api("https://10.0.0.5:23456", ssl.create_default_context(cafile="ca.crt"))  # doctest: +SKIP
    >>> [node["metadata"]["name"] for node in api.get("/api/v1/nodes")["items"]]  # doctest: +SKIP
    ['node0', 'node1']
    """

    def __init__(self, server: str, context: Context, timeout: float = 10.0):
        address = urllib.parse.urlsplit(server)
        self.server = server
        self._host = address.hostname or ""
        self._port = address.port or 443
        self._context = context
        self._timeout = timeout
        self._connection: http.client.HTTPSConnection | None = None
        self._lock = threading.Lock()

    def get(self, path: str) -> Any:
        """The parsed answer (text for endpoints such as /readyz). Raises `ApiError`."""
        return self.request("GET", path)

    def ready(self) -> bool:
        """Whether the server answers /readyz with ok."""
        try:
            return bool(self.get("/readyz") == "ok")
        except UsernetesError:
            return False

    def serves(self, path: str) -> bool:
        """Whether it answers for this object, be it with "not found": a second before it calls itself ready."""
        try:
            self.get(path)
        except UsernetesError as error:  # one too busy to answer in time included
            return isinstance(error, ApiError) and error.status == http.client.NOT_FOUND
        return True

    def apply(self, manifest: Mapping[str, Any]) -> Any:
        """Create the object or make it so (server-side apply, our fields win)."""
        path = f"{path_of(manifest)}?fieldManager={FIELD_MANAGER}&force=true"
        return self.request("PATCH", path, manifest, "application/apply-patch+yaml")

    def delete(self, manifest: Mapping[str, Any], grace: int | None = None) -> None:
        """Delete the object; it is no error when it is not there."""
        query = "" if grace is None else f"?gracePeriodSeconds={grace}"
        try:
            self.request("DELETE", path_of(manifest) + query)
        except ApiError as error:
            if error.status != http.client.NOT_FOUND:
                raise

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """One request; a connection that was closed in the meantime is opened once more."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", **({"Content-Type": kind} if data else {})}
        with self._lock:
            for attempt in (1, 2):
                fresh = self._connection is None
                try:
                    status, text = self._exchange(method, path, data, headers)
                    break
                except TimeoutError as error:
                    self.close()
                    raise TimedOut(f"no answer within {self._timeout:g} s", tried=f"{method} {path}") from error
                except (OSError, http.client.HTTPException) as error:
                    self.close()
                    if fresh or attempt == 2:
                        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                        raise ApiError(reason, tried=f"{method} {self.server}{path}") from error
        answer = _parsed(text)
        if status >= http.client.BAD_REQUEST:
            reason = answer.get("message", text) if isinstance(answer, dict) else text
            raise ApiError(str(reason).strip() or f"HTTP {status}", status, tried=f"{method} {path}")
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, str]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=context_of_now(self._context)
            )
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        return response.status, response.read().decode(errors="replace")


def client_context(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """A context that trusts this CA alone and shows this certificate. Raises `UsernetesError` naming a missing file."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
        context.load_cert_chain(certificate_file, key_file)
    except OSError as error:
        raise UsernetesError(str(error), tried=f"load {ca_file}, {certificate_file} and {key_file}") from error
    return context


def path_of(manifest: Mapping[str, Any]) -> str:
    """The URL path of an object.

    >>> path_of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}})
    '/apis/apps/v1/namespaces/b/deployments/a'
    """
    version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    parts: list[str] = ["/apis" if "/" in version else "/api", version]
    if kind not in CLUSTER_SCOPED:
        parts += ["namespaces", metadata.get("namespace", "default")]
    plural = PLURALS.get(kind, kind.lower() + "s")
    return "/".join([*parts, plural, metadata["name"]])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
