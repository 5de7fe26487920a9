"""What a node gives for a save, and takes from one at its first start: the store's objects, and volumes.

All of it goes through two folders of the node's own: ``save``, from which the driver fetches, and ``resume``, where it
has put what was saved before the node was started. What was taken in is removed, so a node that is started again
begins with what it has.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.api import client_context
from usernetes_deploy.errors import CommandFailed, UsernetesError
from usernetes_deploy.node import control
from usernetes_deploy.node.config import PKI, NodeConfig
from usernetes_deploy.node.control_plane import ETCD_PORT
from usernetes_deploy.node.filesystem import VOLUMES
from usernetes_deploy.waiting import retry

SAVE, RESUME = "save", "resume"
OBJECTS = "objects.jsonl.gz"  # a line an object of the store: [key, value], both in base64
FIRST, BEHIND = b"/registry/", b"/registry0"
PAGE = 1000  # objects asked for at once
PUTS, PUT_BYTES = 100, 1 << 20  # etcd takes 128 puts at once, and 1.5 MiB
PATIENCE = 60.0  # seconds for etcd to have elected itself


class Store:
    """etcd as its JSON gateway shows it; to be used inside the node's network namespace."""

    def __init__(self) -> None:
        stem = f"{PKI}/apiserver-etcd-client"
        context = client_context(f"{PKI}/etcd/ca.crt", f"{stem}.crt", f"{stem}.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", ETCD_PORT, timeout=30, context=context)

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One request; raises `UsernetesError` with etcd's own words."""
        try:
            self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise UsernetesError(str(error) or type(error).__name__, tried=f"ask etcd: {path}") from error
        if response.status != http.client.OK:
            raise UsernetesError(text.decode(errors="replace")[:400], tried=f"ask etcd: {path}")
        return dict(json.loads(text))

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every object there was at one revision (the first answer's), with that revision."""
        begin, revision = FIRST, 0
        while True:
            asked = {"key": _text(begin), "range_end": _text(BEHIND), "limit": PAGE, "revision": revision}
            answer = self.ask("/v3/kv/range", asked)
            revision = revision or int(answer["header"]["revision"])
            found = answer.get("kvs", [])
            for entry in found:
                yield revision, entry
            if not answer.get("more"):
                return
            begin = base64.b64decode(found[-1]["key"]) + b"\0"

    def put(self, entries: list[list[str]]) -> None:
        """Write some objects, all or none."""
        puts = [{"request_put": {"key": key, "value": value}} for key, value in entries]
        self.ask("/v3/kv/txn", {"success": puts})


def save(config: NodeConfig, netns: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Write what is asked for to the folder ``save``; returns ``{"revision": 417, "objects": 310}`` or volumes' sizes.

    ``request`` is ``{"objects": true}`` or ``{"volumes": [folder names]}``, or neither: then the folder is removed.
    """
    folder = config.root / SAVE
    if not request.get("objects") and not request.get("volumes"):
        shutil.rmtree(folder, ignore_errors=True)
        return {}
    folder.mkdir(mode=0o700, exist_ok=True)
    if request.get("objects"):
        return control.in_netns(netns, lambda: dump(folder / OBJECTS))
    return {name: pack(folder, name) for name in request["volumes"]}


def dump(target: Path) -> dict[str, Any]:
    """Write all objects of the store at one revision; those with a lease end by themselves and are left out."""
    count = revision = 0
    with gzip.open(target, "wt", compresslevel=1, encoding="ascii") as file:
        for at, entry in Store().entries():
            revision = at
            if "lease" not in entry:
                file.write(json.dumps([entry["key"], entry.get("value", "")]) + "\n")
                count += 1
    return {"revision": revision, "objects": count}


def load(config: NodeConfig, netns: Path) -> int:
    """Write the objects that were handed over to the store, before anybody asks it; returns how many.

    Raises `UsernetesError` when etcd does not take them.
    """
    source = config.root / RESUME / OBJECTS
    if not source.exists():
        return 0
    count = control.in_netns(netns, lambda: _load(source))
    source.unlink()
    return count


def _load(source: Path) -> int:
    store, count = Store(), 0
    with gzip.open(source, "rt", encoding="ascii") as file:
        for some in batches(json.loads(line) for line in file):
            retry(lambda some=some: store.put(some), PATIENCE, pause=0.05)  # type: ignore[misc]  # it may have no leader yet
            count += len(some)
    return count


def batches(entries: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    """As many of the entries at once as etcd takes.

    >>> [len(some) for some in batches(iter([["a", "b"]] * 205))]
    [100, 100, 5]
    """
    some: list[list[str]] = []
    size = 0
    for entry in entries:
        length = len(entry[0]) + len(entry[1])
        if some and (len(some) == PUTS or size + length > PUT_BYTES):
            yield some
            some, size = [], 0
        some.append(entry)
        size += length
    if some:
        yield some


def pack(folder: Path, name: str) -> int:
    """Write the volume of this folder name as a tar, with the owners that its pods see; returns its size in bytes."""
    if "/" in name or name in (".", "..") or not (VOLUMES / name).is_dir():
        raise UsernetesError(f"there is no volume {name!r}")
    target = folder / f"{name}.tar"
    argv = ["tar", "--create", f"--file={target}", "--numeric-owner", "--sparse", f"--directory={VOLUMES}", "--", name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode > 1:  # 1: a file changed while it was read, as files in use do
        raise CommandFailed(argv, done.returncode, done.stderr)
    return target.stat().st_size


def unpack(config: NodeConfig) -> None:
    """Put the volumes that were handed over in place, before the first pod may use them."""
    for archive in sorted((config.root / RESUME).glob("*.tar")):
        argv = ["tar", "--extract", f"--file={archive}", "--numeric-owner", "--preserve-permissions"]
        argv += ["--same-owner", f"--directory={VOLUMES}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stderr)
        archive.unlink()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
