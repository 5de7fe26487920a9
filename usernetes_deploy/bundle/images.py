"""Makes OCI images from binaries, in pure Python: one layer, the same bytes every time.

An image is a tar in the OCI layout, as ``ctr images import`` and ``skopeo`` read it. Nothing is taken from the clock,
the umask or the order of a directory, so that two builds give the same digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True)
class Entry:
    """One path of an image's root: a file (``content``), a symbolic link (``target``), or else a directory."""

    path: str
    mode: int = 0o755
    content: bytes | None = None
    target: str | None = None


@dataclass(frozen=True)
class Image:
    """What an image is made of; `name` is its full reference, e.g. ``localhost/usernetes/pause:3.10.2``."""

    name: str
    entries: Sequence[Entry]
    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def architecture() -> str:
    """This machine's architecture in Go's and OCI's words: ``amd64``."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def write(image: Image, target: Path) -> str:
    """Write `image` as an OCI layout tar to `target`; return the digest of its manifest.

    >>> image = Image("localhost/me/true:1", [Entry("bin/true", content=b"...")], ["/bin/true"])
    >>> write(image, Path("true.tar"))  # doctest: +SKIP
    'sha256:0d7a...'
    """
    layer = _layer(image.entries)
    config = {
        "created": EPOCH,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": list(image.entrypoint),
            "Cmd": list(image.cmd),
            "WorkingDir": "/",
            "Labels": dict(image.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created": EPOCH, "created_by": "usernetes bundle build"}],
    }
    config_bytes = _json(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config_bytes),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    manifest_bytes = _json(manifest)
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    entry = {
        **_descriptor("application/vnd.oci.image.manifest.v1+json", manifest_bytes),
        "platform": {"architecture": architecture(), "os": "linux"},
        "annotations": names,
    }
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    blobs = [
        Entry(f"blobs/sha256/{hashlib.sha256(b).hexdigest()}", 0o644, b) for b in (layer, config_bytes, manifest_bytes)
    ]
    layout = [
        Entry("blobs"),
        Entry("blobs/sha256"),
        *sorted(blobs, key=lambda blob: blob.path),
        Entry("index.json", 0o644, _json(index)),
        Entry("oci-layout", 0o644, _json({"imageLayoutVersion": "1.0.0"})),
    ]
    target.write_bytes(_tar(layout))
    return _digest(manifest_bytes)


def program(binary: Path, name: str, version: str) -> Image:
    """An image of one static binary, ``/NAME``, and nothing else; it runs as nobody in particular."""
    return Image(
        f"localhost/usernetes/{name}:{version}",
        [Entry(name, content=binary.read_bytes())],
        entrypoint=[f"/{name}"],
        user="65535:65535",
    )


def busybox(binary: Path, version: str, applets: Sequence[str]) -> Image:
    """A small image with a shell, made of the distribution's static busybox: for helper pods, demos and probes."""
    return Image(
        f"localhost/usernetes/busybox:{version}",
        [
            Entry("bin"),
            Entry("bin/busybox", content=binary.read_bytes()),
            *(Entry(f"bin/{name}", target="busybox") for name in sorted(set(applets) - {"busybox"}) if "/" not in name),
            Entry("etc"),
            Entry("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n"),
            # without it a static glibc asks no name server at all
            Entry("etc/nsswitch.conf", 0o644, b"hosts: files dns\n"),
            Entry("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            Entry("root", 0o700),
            Entry("tmp", 0o1777),
            Entry("var"),
            Entry("var/www"),
        ],
        cmd=["/bin/sh"],
    )


def _layer(entries: Sequence[Entry]) -> bytes:
    return _tar(sorted(entries, key=lambda entry: entry.path))


def _tar(entries: Sequence[Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mode = entry.mode
            if entry.target is not None:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
                tar.addfile(info)
            elif entry.content is not None:
                info.size = len(entry.content)
                tar.addfile(info, io.BytesIO(entry.content))
            else:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
    return out.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
