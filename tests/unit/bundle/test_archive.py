"""Archives: the same bytes every time, and nothing foreign, damaged or cut off is taken in."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.unit.bundle.conftest import FILES, write_bundle
from usernetes_deploy import bundle
from usernetes_deploy.bundle import archive, stage, unpacking
from usernetes_deploy.bundle.archive import BLOCK
from usernetes_deploy.errors import BundleError, UsageError

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here")
KINDS = ["tar.gz", pytest.param("tar.zst", marks=needs_zstd)]


def contents(cache: Path) -> list[str]:
    """What an import has left in `cache`."""
    return sorted(path.name for path in (cache / "bundles").glob("*")) if (cache / "bundles").exists() else []


def repacked(path: Path, *members: tuple[str, bytes], drop: str = "") -> Path:
    """`path` with `members` added at the end, and without the member `drop`."""
    out = path.with_name("changed.tar.gz")
    with tarfile.open(path) as old, tarfile.open(out, "w:gz") as new:
        for member in old.getmembers():
            if member.name != drop:
                new.addfile(member, old.extractfile(member))
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_packed_can_be_imported(kind: str, source: Path, tmp_path: Path) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / f"bundle.{kind}")
    made = archive.unpack(packed, tmp_path / "cache")
    assert made.digest == unpacking.read_manifest(source).digest
    assert stage.verify(made.root, again=True).files == unpacking.read_manifest(source).files
    assert bundle.locate(None, tmp_path / "cache").root == made.root.resolve()


def test_two_archives_of_a_bundle_are_the_same_bytes(source: Path, tmp_path: Path) -> None:
    one = bundle.pack(bundle.locate(source), tmp_path / "one.tar.gz").read_bytes()
    os.utime(source / "bin/tool", (1, 1))
    assert bundle.pack(bundle.locate(source), tmp_path / "two.tar.gz").read_bytes() == one


def test_a_file_of_many_blocks_survives(tmp_path: Path) -> None:
    content = os.urandom(BLOCK + 12345) * 2
    source = write_bundle(tmp_path / "large", {"bin/large": content})
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tgz")
    with gzip.open(packed) as stream, tarfile.open(fileobj=stream) as tar:
        assert tar.getnames() == ["manifest.json", "bin/large"]
    assert (stage.stage(packed, tmp_path / "node") / "bin/large").read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_cut_off_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    source = write_bundle(tmp_path / "large", {**FILES, "bin/large": os.urandom(1 << 20)})
    packed = bundle.pack(bundle.locate(source), tmp_path / f"bundle.{kind}")
    os.truncate(packed, int(packed.stat().st_size * share))
    with pytest.raises(BundleError, match=r"is damaged|is truncated|is neither"):
        archive.unpack(packed, tmp_path / "cache")
    assert contents(tmp_path / "cache") == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_with_flipped_bytes_is_refused(kind: str, tmp_path: Path) -> None:
    source = write_bundle(tmp_path / "large", {**FILES, "bin/large": os.urandom(1 << 20)})
    packed = bundle.pack(bundle.locate(source), tmp_path / f"bundle.{kind}")
    content = bytearray(packed.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 64):
        content[place] ^= 0xFF
    packed.write_bytes(content)
    with pytest.raises(BundleError, match="is damaged"):
        archive.unpack(packed, tmp_path / "cache")
    assert contents(tmp_path / "cache") == []


def test_a_damaged_archive_is_refused_also_when_its_bundle_is_there(source: Path, tmp_path: Path) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    made = archive.unpack(packed, tmp_path / "cache")
    assert archive.unpack(packed, tmp_path / "cache") == made
    with pytest.raises(BundleError, match="is truncated: it lacks cni/bridge"):
        archive.unpack(repacked(packed, drop="cni/bridge"), tmp_path / "cache")
    assert stage.verify(made.root, again=True)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "bin/../../evil", "bin/extra", "manifest.json"])
def test_a_member_that_the_manifest_does_not_name_is_refused(name: str, source: Path, tmp_path: Path) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    with pytest.raises(BundleError, match="is not what the manifest names"):
        archive.unpack(repacked(packed, (name, b"evil")), tmp_path / "cache")
    assert contents(tmp_path / "cache") == []
    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_the_place_of_a_file_is_refused(source: Path, tmp_path: Path) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    with tarfile.open(packed) as old, tarfile.open(tmp_path / "linked.tar.gz", "w:gz") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            if member.name == "bin/tool":
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
            new.addfile(member, content if member.isreg() else None)
    with pytest.raises(BundleError, match=r"'bin/tool' is not what the manifest names"):
        archive.unpack(tmp_path / "linked.tar.gz", tmp_path / "cache")


def test_a_member_with_another_content_is_refused(source: Path, tmp_path: Path) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    evil = FILES["bin/tool"].replace(b"tool", b"evil")
    with pytest.raises(BundleError, match="the sha256 of bin/tool is wrong"):
        archive.unpack(repacked(packed, ("bin/tool", evil), drop="bin/tool"), tmp_path / "cache")


def test_an_archive_that_lacks_a_file_is_refused(source: Path, tmp_path: Path) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    with pytest.raises(BundleError, match="is truncated: it lacks cni/bridge"):
        archive.unpack(repacked(packed, drop="cni/bridge"), tmp_path / "cache")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", gzip.compress(b"hello"), gzip.compress(b"\0" * 10240)],
    ids=["nothing", "text", "packed text", "packed zeros"],
)
def test_what_is_no_archive_of_a_bundle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BundleError, match=r"is neither|is damaged|does not begin with manifest.json"):
        archive.unpack(tmp_path / "file", tmp_path / "cache")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing.tar.gz: No such file or directory"):
        archive.unpack(tmp_path / "nothing.tar.gz", tmp_path / "cache")


def test_a_damaged_bundle_is_not_packed(source: Path, tmp_path: Path) -> None:
    (source / "bin/tool").write_bytes(b"#!/bin/sh\necho evil\n")
    with pytest.raises(BundleError, match="bin/tool: sha256"):
        bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    assert not (tmp_path / "bundle.tar.gz").exists()


def test_an_archive_of_another_kind_is_wrong_use(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected NAME.tar.zst or NAME.tar.gz"):
        bundle.pack(bundle.locate(source), tmp_path / "bundle.zip")


def test_an_archive_that_cannot_be_written_leaves_no_part(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot write .*/nowhere/bundle.tar.gz: No such file or directory"):
        bundle.pack(bundle.locate(source), tmp_path / "nowhere" / "bundle.tar.gz")


def test_without_zstd_the_other_format_is_the_remedy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="zstd is missing"):
        bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.zst")
    assert not list(tmp_path.glob("*bundle.tar.zst*"))
