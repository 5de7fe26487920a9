"""Images made from binaries are what the OCI layout says, and the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.bundle import images


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Something to put into an image."""
    (tmp_path / "binary").write_bytes(b"\x7fELF" + b"x" * 1000)
    return tmp_path / "binary"


def opened(path: Path) -> tuple[dict[str, Any], dict[str, Any], tarfile.TarFile]:
    """(manifest, config, layer) of the only image in an OCI layout, every digest checked on the way."""
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    def blob(said: dict[str, Any]) -> bytes:
        content = files["blobs/" + said["digest"].replace(":", "/")]
        assert len(content) == said["size"]
        assert "sha256:" + hashlib.sha256(content).hexdigest() == said["digest"]
        return content

    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    layer = blob(manifest["layers"][0])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    return entry, config, tarfile.open(fileobj=io.BytesIO(layer))


def test_pause_is_one_file_and_runs_as_nobody(binary: Path, tmp_path: Path) -> None:
    digest = images.write(images.program(binary, "pause", "3.10.2"), tmp_path / "pause.tar")
    entry, config, layer = opened(tmp_path / "pause.tar")
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/usernetes/pause:3.10.2"
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["config"]["User"] == "65535:65535"
    assert layer.getnames() == ["pause"]
    assert layer.getmember("pause").mode == 0o755


def test_busybox_has_its_applets_and_a_tmp_for_all(binary: Path, tmp_path: Path) -> None:
    images.write(images.busybox(binary, "1.35.0", ["sh", "wget", "busybox", "sh"]), tmp_path / "busybox.tar")
    _, config, layer = opened(tmp_path / "busybox.tar")
    assert config["config"]["Cmd"] == ["/bin/sh"]
    assert layer.getmember("bin/sh").linkname == "busybox"
    assert layer.getmember("bin/busybox").isreg()
    assert layer.getmember("tmp").mode == 0o1777
    assert b"hosts: files dns" in layer.extractfile("etc/nsswitch.conf").read()  # type: ignore[union-attr]
    assert len(layer.getnames()) == len(set(layer.getnames()))


def test_neither_clock_nor_umask_nor_order_of_applets_changes_a_byte(binary: Path, tmp_path: Path) -> None:
    images.write(images.busybox(binary, "1", ["a", "b"]), tmp_path / "one.tar")
    os.utime(binary, (1, 1))
    old = os.umask(0o077)
    try:
        images.write(images.busybox(binary, "1", ["b", "a"]), tmp_path / "two.tar")
    finally:
        os.umask(old)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
