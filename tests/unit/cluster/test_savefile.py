"""Archives are whole or refused: each kind of a bad one with its reason, and what was there before stays."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from usernetes_deploy.cluster import savefile, sealing
from usernetes_deploy.cluster.savefile import Manifest, Saved, Volume, Writer, archive_in, read, read_key
from usernetes_deploy.cluster.sealing import PIECE, Opened, Sealer
from usernetes_deploy.errors import Secret, UsageError, UsernetesError

KEY = Secret("a passphrase of the user's")
DATA = os.urandom(3 * PIECE + 17)  # several pieces, whatever is done to compress it


def manifest(**fields: Any) -> Manifest:
    known: dict[str, Any] = {
        "cluster": "demo",
        "id": "0a1b2c3d",
        "created": "2026-01-02T03:04:05+00:00",
        "version": "0.1.0",
        "revision": 417,
        "objects": 2,
        "server": "https://192.0.2.1:23456",
        "nodes": ("node0", "node1"),
        "images": ("localhost/a:1",),
        "volumes": (Volume("pvc-1", "default/data", "node1", "pvc-1_default_data", "volumes/pvc-1.tar", len(DATA)),),
        "spec": {"name": "demo", "nodes": 2},
    }
    return Manifest(**{**known, **fields})


def parts() -> dict[str, Path | bytes]:
    return {savefile.OBJECTS: b'["a", "b"]\n', savefile.DOCUMENTS: b'{"pods": []}', "volumes/pvc-1.tar": DATA}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    target = tmp_path / "demo.usernetes"
    Writer(target, KEY).write(manifest(), Secret('{"ca": "a secret"}'), parts())
    return target


def refusal(path: Path, folder: Path, key: Secret = KEY) -> str:
    with pytest.raises(UsageError) as caught:
        read(path, key, folder / "parts")
    return str(caught.value)


def test_what_was_written_is_read_again_and_only_its_user_may_read_it(archive: Path, tmp_path: Path) -> None:
    found = read(archive, KEY, tmp_path / "parts")
    assert isinstance(found, Saved)
    assert (found.manifest, found.identities.reveal()) == (manifest(), '{"ca": "a secret"}')
    assert (found.objects.read_bytes(), found.documents()) == (b'["a", "b"]\n', {"pods": []})
    assert (found.folder / "volumes/pvc-1.tar").read_bytes() == DATA
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.folder.rglob("*")} == {0o600, 0o700}
    assert b"a secret" not in archive.read_bytes()
    assert [path.name for path in archive.parent.iterdir() if path.name.startswith(".")] == []


def test_each_archive_is_sealed_differently(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    Writer(archive, KEY).write(manifest(), Secret('{"ca": "a secret"}'), parts())
    assert archive.read_bytes()[:200] != before[:200]


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.99])
def test_a_changed_byte_is_seen_wherever_it_is(archive: Path, tmp_path: Path, place: float) -> None:
    content = bytearray(archive.read_bytes())
    content[int(len(content) * place)] ^= 1
    archive.write_bytes(content)
    assert f"{archive} is damaged" in refusal(archive, tmp_path)


def test_a_damaged_header_is_seen(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    head, _, rest = content.partition(b"\n")
    said = json.loads(head[len(sealing.MAGIC) :])
    archive.write_bytes(sealing.MAGIC + json.dumps({**said, "more": 1}).encode() + b"\n" + rest)
    assert "is damaged" in refusal(archive, tmp_path / "1")  # it is part of what each piece is sealed with
    del said["salt"]
    archive.write_bytes(sealing.MAGIC + json.dumps(said).encode() + b"\n" + rest)
    assert "is damaged in its first line" in refusal(archive, tmp_path)


@pytest.mark.parametrize("left", [200, PIECE // 2, PIECE + 200, -1])
def test_half_an_archive_is_seen_wherever_it_was_cut(archive: Path, tmp_path: Path, left: int) -> None:
    archive.write_bytes(archive.read_bytes()[:left])
    assert f"{archive} is only a part of an archive" in refusal(archive, tmp_path)


def test_an_archive_cut_between_two_pieces_is_half_as_well(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    start = content.index(b"\n") + 1
    length = int.from_bytes(content[start : start + 4], "big")
    archive.write_bytes(content[: start + 4 + length])
    assert "is only a part of an archive" in refusal(archive, tmp_path)


def test_pieces_that_were_exchanged_left_out_or_added_are_seen(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    start = content.index(b"\n") + 1
    piece = 4 + PIECE + 16
    first, second = content[start : start + piece], content[start + piece : start + 2 * piece]
    rest = content[start + 2 * piece :]
    for changed in (second + first + rest, second + rest, first + first + second + rest, first + second + rest + b"x"):
        archive.write_bytes(content[:start] + changed)
        with pytest.raises(UsageError, match="is damaged"):
            savefile.verify(io.BytesIO(archive.read_bytes()), KEY, archive)


def test_foreign_and_newer_files_and_another_key_have_their_own_words(archive: Path, tmp_path: Path) -> None:
    assert "was sealed with another key" in refusal(archive, tmp_path / "a", Secret("another one"))
    foreign = tmp_path / "home.tar.gz"
    for content in (b"", b"\x1f\x8b\x08 something else", b"usernetes-archive not JSON\n"):
        foreign.write_bytes(content)
        assert f"{foreign} is no archive of `usernetes save`" in refusal(foreign, tmp_path / f"b{len(content)}")
    newer = tmp_path / "newer.usernetes"
    newer.write_bytes(archive.read_bytes().replace(b'"schema": 1', b'"schema": 2', 1))
    assert "was written by a newer version of usernetes (archive 2, this one reads 1)" in refusal(newer, tmp_path / "c")


def sealed(target: Path, members: dict[str, bytes]) -> Path:
    """An archive that is sealed properly, with any members."""
    with (
        target.open("wb") as file,
        Sealer(file, KEY) as sealer,
        tarfile.open(fileobj=cast("BinaryIO", sealer), mode="w|") as tar,
    ):
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target


def test_a_newer_format_inside_and_members_that_do_not_belong_there_are_refused(tmp_path: Path) -> None:
    document = manifest().document()
    newer = sealed(tmp_path / "a", {savefile.MANIFEST: json.dumps({**document, "format": 2}).encode()})
    assert "has format 2, this version reads 1" in refusal(newer, tmp_path / "1")
    outside = sealed(tmp_path / "b", {savefile.MANIFEST: json.dumps(document).encode(), "../../evil": b"x"})
    assert "a part that does not belong there: '../../evil'" in refusal(outside, tmp_path / "2")
    assert not (tmp_path / "evil").exists()
    lacking = sealed(tmp_path / "c", {savefile.MANIFEST: json.dumps(document).encode(), savefile.END: b"{}"})
    assert "its parts are not those that it was written with" in refusal(lacking, tmp_path / "3")
    poor = {key: value for key, value in document.items() if key != "server"}
    assert "server" in refusal(sealed(tmp_path / "d", {savefile.MANIFEST: json.dumps(poor).encode()}), tmp_path / "4")


def test_a_write_that_fails_leaves_the_archive_that_was_there(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(UsernetesError, match="No such file"):
        Writer(archive, KEY).write(manifest(), Secret("{}"), {savefile.OBJECTS: tmp_path / "nowhere"})
    with pytest.raises(UsageError, match="its parts are not those"):  # it is read back before it has the name
        Writer(archive, KEY).write(manifest(), Secret("{}"), {savefile.OBJECTS: b""})
    assert archive.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_the_archive_of_a_folder_is_the_only_one_there(archive: Path, tmp_path: Path) -> None:
    assert archive_in(tmp_path) == archive_in(archive) == archive
    (tmp_path / "other.usernetes").write_bytes(b"")
    with pytest.raises(UsageError, match=r"has several archives: demo.usernetes, other.usernetes"):
        archive_in(tmp_path)
    with pytest.raises(UsageError, match="there is no"):
        archive_in(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="has no archive"):
        archive_in(empty)


def test_a_key_that_others_can_read_or_that_is_too_short_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("correct horse\n")
    key.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        read_key(key)
    key.chmod(0o600)
    assert read_key(key).reveal() == "correct horse"
    key.write_text("short")
    with pytest.raises(UsageError, match="has 5 characters, 8 are the least"):
        read_key(key)
    with pytest.raises(UsageError, match="No such file"):
        read_key(tmp_path / "nowhere")


def test_reading_in_small_pieces_gives_the_same(tmp_path: Path) -> None:
    file = io.BytesIO()
    with Sealer(file, KEY) as sealer:
        sealer.write(DATA)
    file.seek(0)
    opened = Opened(file, KEY, "it")
    found = b"".join(iter(lambda: opened.read(70_001), b""))
    assert found == DATA
