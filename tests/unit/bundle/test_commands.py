"""`usernetes bundle ...`: the result on stdout, progress on stderr, nothing done on wrong use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.unit.bundle.conftest import Server
from usernetes_deploy import bundle
from usernetes_deploy.bundle import components, pins, unpacking
from usernetes_deploy.cli import run
from usernetes_deploy.commands.bundle import mib


@pytest.fixture
def cache(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A cache with one bundle, imported from an archive."""
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    assert run(["usernetes", "bundle.import", str(packed), "--cache", str(tmp_path / "cache")]) == 0
    assert unpacking.read_manifest(source).name in capsys.readouterr().out
    return tmp_path / "cache"


def test_list_shows_versions_sizes_and_the_current_one(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usernetes", "bundle.list", "--cache", str(cache)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("* ") and "MiB" in out and "v1.36.3" in out
    assert run(["usernetes", "bundle.list", "--cache", str(cache), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["current"] and said["digest"] == bundle.locate(None, cache).digest
    assert said["components"][0]["name"] == "kubernetes"
    assert said["images"] == ["localhost/usernetes/pause:3.10.2"]


def test_an_empty_cache_lists_nothing_and_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usernetes", "bundle.list", "--cache", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "usernetes bundle build" in said.err


def test_verify_hashes_and_names_a_damaged_binary(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usernetes", "bundle.verify", "--cache", str(cache), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 3
    tool = bundle.locate(None, cache).binary("tool")
    tool.write_bytes(tool.read_bytes().replace(b"echo", b"exec"))
    assert run(["usernetes", "bundle.verify", "--cache", str(cache)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "bin/tool: sha256" in said.err and "fix: " in said.err


def test_an_archive_can_be_verified_where_it_lies(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz")
    assert run(["usernetes", "bundle.verify", "--path", str(packed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == unpacking.read_manifest(source).digest
    packed.write_bytes(packed.read_bytes()[:-100])
    assert run(["usernetes", "bundle.verify", "--path", str(packed)]) == 1


def test_pack_writes_the_file_that_it_prints(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.tar.gz"
    assert run(["usernetes", "bundle.pack", str(out), "--cache", str(cache)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert unpacking.read_manifest(out).digest == bundle.locate(None, cache).digest


def test_a_bundle_can_be_imported_from_a_url_with_its_sum_only(
    source: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = bundle.pack(bundle.locate(source), tmp_path / "bundle.tar.gz").read_bytes()
    url = server.serve("/bundle.tar.gz", packed)
    argv = ["usernetes", "bundle.import", url, "--cache", str(tmp_path / "cache")]
    assert run(argv) == 2
    assert "--sha256" in capsys.readouterr().err
    assert server.asked == []
    assert run([*argv, "--sha256", "0" * 64]) == 1
    assert "wrong sum" in capsys.readouterr().err
    assert run([*argv, "--sha256", hashlib.sha256(packed).hexdigest()]) == 0


def test_download_without_pins_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["usernetes", "bundle.download", "--cache", str(tmp_path / "cache"), "--pins", str(tmp_path / "none")]
    assert run(argv) == 1
    said = capsys.readouterr()
    assert "no pinned sha256" in said.err and "usernetes bundle pin" in said.err
    assert not (tmp_path / "cache").exists()


def test_pin_prints_and_keeps_the_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    etcd = next(component for component in components.load().components if component.name == "etcd")
    assert etcd.release
    archive = tmp_path / pins.file_name(etcd.release.url)
    archive.write_bytes(b"etcd")
    assert run(["usernetes", "bundle.pin", str(archive), "--pins", str(tmp_path / "pins.yaml")]) == 0
    expected = hashlib.sha256(b"etcd").hexdigest()
    assert capsys.readouterr().out == f"{expected}  {etcd.release.url}\n"
    assert pins.load(tmp_path / "pins.yaml") == {etcd.release.url: expected}


def test_an_unknown_extra_or_number_of_jobs_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["usernetes", "bundle.build", "--cache", str(tmp_path / "cache")]
    assert run([*argv, "--with", "kwak"]) == 2
    assert "no optional component kwak" in capsys.readouterr().err
    assert run([*argv, "--jobs", "-1"]) == 2
    assert not (tmp_path / "cache").exists()


def test_gc_leaves_the_current_bundle(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "downloads").mkdir()
    (cache / "downloads" / "old").write_bytes(b"x" * (1 << 20))
    assert run(["usernetes", "bundle.gc", "--cache", str(cache)]) == 0
    said = capsys.readouterr()
    assert said.out == "downloads/old  1.0 MiB\n"
    assert bundle.locate(None, cache)


def test_sizes_are_for_people() -> None:
    assert mib(0) == "0.0 MiB"
    assert mib(851_443_712) == "812.0 MiB"
