"""Watch a collection of the Kubernetes API: a list first, then every change, without polling."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from usernetes_deploy.api import Context, context_of_now
from usernetes_deploy.errors import UsernetesError

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
CONNECT_TIMEOUT = 20.0
# The server ends a watch after 30 to 60 minutes; a silence far beyond means a dead connection.
SILENCE = 2 * 3600.0
# A server that is gone without a word is noticed in two minutes: (option, seconds, or how many times).
PROBES = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Watch:
    """Keeps `objects` (uid -> object) like the API server's, and calls `changed` after each change.

    `path` is a collection such as ``/api/v1/services``, with an optional query.
    """

    def __init__(self, server: str, context: Context, path: str, changed: Callable[[], None]) -> None:
        self.objects: dict[str, Any] = {}
        self._address = urllib.parse.urlsplit(server)
        self._context = context
        self._path = path
        self._changed = changed
        self._synced = threading.Event()
        self._following: http.client.HTTPSConnection | None = None

    def start(self) -> None:
        """Begin in the background; the thread lives as long as the process."""
        threading.Thread(target=self._run, name=f"watch {self._path}", daemon=True).start()

    def synced(self, timeout: float) -> bool:
        """Wait until the first list is in; False after `timeout` seconds."""
        return self._synced.wait(timeout)

    def again(self) -> None:
        """Drop the connection and list anew: it may be dead without a word, as when our own address has changed."""
        following = self._following
        if following and following.sock:
            with contextlib.suppress(OSError):
                following.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        pause = SHORTEST_PAUSE
        sleep = threading.Event()
        while True:
            try:
                version = self._list()
                pause = SHORTEST_PAUSE
                self._follow(version)
            except (OSError, ValueError, http.client.HTTPException, UsernetesError):
                sleep.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except Exception as error:  # an answer that is none: say so, for nobody else sees this thread
                print(f"watch {self._path}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                sleep.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _list(self) -> str:
        connection = self._connect()
        try:
            document = json.loads(self._get(connection, self._path).read())
        finally:
            connection.close()
        self.objects = {item["metadata"]["uid"]: item for item in document.get("items") or []}
        self._synced.set()
        self._changed()
        return str(document["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        connection = self._connect()
        try:
            mark = "&" if "?" in self._path else "?"
            query = f"{self._path}{mark}watch=true&allowWatchBookmarks=true&resourceVersion={version}"
            self._following = connection
            response = self._get(connection, query)
            if connection.sock:
                connection.sock.settimeout(SILENCE)
                keep_alive(connection.sock)
            for event in events(response):
                if self.take(event):
                    self._changed()
        finally:
            self._following = None
            connection.close()

    def take(self, event: Any) -> bool:
        """Take one event in; tell whether it changed anything. Raises `UsernetesError` when the watch is over."""
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise UsernetesError(str(item.get("message", item)), tried=f"watch {self._path}")
        if kind == "BOOKMARK":
            return False
        uid = item["metadata"]["uid"]
        if kind == "DELETED":
            return self.objects.pop(uid, None) is not None
        self.objects = {**self.objects, uid: item}
        return True

    def _connect(self) -> http.client.HTTPSConnection:
        host, port = self._address.hostname or "", self._address.port or 443
        context = context_of_now(self._context)
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=context)

    def _get(self, connection: http.client.HTTPSConnection, path: str) -> http.client.HTTPResponse:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise UsernetesError(f"HTTP {response.status}: {response.read(300)!r}", tried=f"GET {path}")
        return response


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel ask whether the other side is still there while nothing is said."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in PROBES:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def events(response: Any) -> Iterator[Any]:
    """Yield the events of a watch, one JSON document a line."""
    while True:
        line = response.readline()
        if not line:
            return
        if line.strip():
            yield json.loads(line)
