"""A read-only container registry over HTTP or TLS, as small as the protocol allows, with images made on the spot.

``open/NAME`` may be pulled by everybody, ``private/NAME`` asks for a user and a password (HTTP basic).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "reader", "only-for-tests"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Registry:
    """What is served, and what was asked for: ``(path, authorised)``."""

    url: str
    blobs: dict[str, bytes]
    manifests: dict[str, bytes]
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def push(self, name: str, busybox: Path) -> None:
        """Offer `busybox` (a static binary) as image `name` with tag ``1``; its command prints the image's name."""
        layer, config, manifest = image(name, busybox)
        for blob in (layer, config):
            self.blobs[digest(blob)] = blob
        for reference in ("1", digest(manifest)):
            self.manifests[f"{name}/manifests/{reference}"] = manifest


def digest(data: bytes) -> str:
    """``sha256:...``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image(name: str, busybox: Path) -> tuple[bytes, bytes, bytes]:
    """One layer, its configuration and its manifest."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for folder in ("bin", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as file:
            archive.addfile(program, file)
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(shell)
    data = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh", "-c", f"echo this is {name}"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(data)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(config),
                "size": len(config),
            },
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(data), "size": len(data)}
            ],
        }
    ).encode()
    return data, config, manifest


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Put one file into an archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def oci_archive(target: Path, name: str, busybox: Path) -> Path:
    """What ``skopeo copy ... oci-archive:`` writes."""
    layer, config, manifest = image(name, busybox)
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": digest(manifest),
                "size": len(manifest),
                "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
            }
        ],
    }
    with tarfile.open(target, "w") as archive:
        add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add(archive, "index.json", json.dumps(index).encode())
        for blob in (layer, config, manifest):
            add(archive, "blobs/sha256/" + digest(blob).removeprefix("sha256:"), blob)
    return target


def docker_archive(target: Path, name: str, busybox: Path) -> Path:
    """What ``docker save`` writes."""
    layer, config, _ = image(name, busybox)
    stem = digest(config).removeprefix("sha256:")
    listing = [{"Config": f"{stem}.json", "RepoTags": [name], "Layers": ["layer/layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        add(archive, f"{stem}.json", config)
        add(archive, "layer/layer.tar", layer)
        add(archive, "manifest.json", json.dumps(listing).encode())
    return target


@contextlib.contextmanager
def serve_registry(address: str, pair: Path | None = None) -> Iterator[Registry]:
    """Serve on a free port of `address` for the length of the block; with TLS by the key and certificate of `pair`."""
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    registry = Registry("", {}, {})

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            authorised = self.headers.get("Authorization") == expected
            registry.asked.append((self.path, authorised))
            path = self.path.partition("?")[0].removeprefix("/v2/")
            if path.startswith("private/") and not authorised:
                self._send(401, b"", "text/plain", {"WWW-Authenticate": 'Basic realm="private"'})
            elif path == "":
                self._send(200, b"{}", "application/json")
            elif path in registry.manifests:
                self._send(200, registry.manifests[path], MANIFEST)
            elif path.rpartition("/")[2] in registry.blobs:
                self._send(200, registry.blobs[path.rpartition("/")[2]], "application/octet-stream")
            else:
                self._send(404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}', "application/json")

        do_HEAD = do_GET  # noqa: N815  the name that http.server looks for

        def _send(self, code: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            if kind == MANIFEST:
                self.send_header("Docker-Content-Digest", digest(body))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair)
            # The handshake in the connection's own thread: one that says nothing keeps no other waiting.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        registry.url = f"{'https' if pair else 'http'}://{address}:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield registry
        finally:
            server.shutdown()
