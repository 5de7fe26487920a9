"""The cache: what `locate` finds, what the lock says, what the garbage collector leaves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.bundle.conftest import FILES, write_bundle
from usernetes_deploy import bundle
from usernetes_deploy.bundle import archive, store, unpacking
from usernetes_deploy.errors import BundleError


@pytest.fixture
def cache(source: Path, tmp_path: Path) -> Path:
    """A cache with one bundle, the current one."""
    archive.unpack(packed_from(source), tmp_path / "cache")
    return tmp_path / "cache"


def packed_from(root: Path) -> Path:
    """An archive of the bundle in `root`."""
    return bundle.pack(bundle.Bundle(root, unpacking.read_manifest(root)), root.with_suffix(".tar.gz"))


def test_the_current_bundle_is_found(cache: Path, source: Path) -> None:
    found = bundle.locate(None, cache)
    assert found.digest == unpacking.read_manifest(source).digest
    assert found.root == (cache / "bundles" / found.manifest.name).resolve()
    assert found.versions == {"kubernetes": "v1.36.3"}
    assert found.binary("tool").read_bytes() == FILES["bin/tool"]
    assert found.binary("bridge") == found.root / "cni/bridge"
    assert found.image("pause") == ("localhost/usernetes/pause:3.10.2", found.root / "images/pause.tar")


def test_a_bundle_is_found_by_its_folder(cache: Path, source: Path) -> None:
    assert bundle.locate(source, cache).root == source


@pytest.mark.parametrize("folder", [None, "missing"])
def test_a_missing_bundle_comes_with_the_command_that_makes_one(folder: str | None, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle") as error:
        bundle.locate(tmp_path / folder if folder else None, tmp_path / "cache")
    assert "usernetes bundle build" in (error.value.remedy or "")
    assert error.value.exit_code == 1


def test_a_visibly_damaged_bundle_is_not_handed_out(cache: Path) -> None:
    found = bundle.locate(None, cache)
    os.truncate(found.root / "bin/tool", 1)
    with pytest.raises(BundleError, match="is damaged: bin/tool") as error:
        bundle.locate(None, cache)
    assert "usernetes bundle build" in (error.value.remedy or "")


def test_an_archive_given_as_a_bundle_is_to_be_imported(source: Path) -> None:
    with pytest.raises(BundleError, match="is a file") as error:
        bundle.locate(packed_from(source))
    assert error.value.remedy == f"usernetes bundle import {source}.tar.gz"


def test_what_a_bundle_lacks_is_named(source: Path) -> None:
    found = bundle.locate(source)
    with pytest.raises(BundleError, match="has no flanneld"):
        found.binary("flanneld")
    with pytest.raises(BundleError, match="has no image busybox"):
        found.image("busybox")


def test_the_cache_is_where_the_xdg_rules_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert store.default_cache({"XDG_CACHE_HOME": "/scratch/me"}) == Path("/scratch/me/usernetes")
    assert store.default_cache({"XDG_CACHE_HOME": "relative"}) == Path("/home/me/.cache/usernetes")
    assert store.default_cache({}) == Path("/home/me/.cache/usernetes")


def test_the_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    hold = (
        "import sys, pathlib; from usernetes_deploy.bundle import store\n"
        "with store.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(BundleError, match=rf"is in use by pid {other.pid} on ") as error, store.locked(tmp_path):
            pass
        assert "--cache DIR" in (error.value.remedy or "")
        other.kill()
    with store.locked(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"pid {os.getpid()} ")


def test_a_cache_that_cannot_be_made_says_why() -> None:
    unwritable = Path("/proc/usernetes")
    with pytest.raises(BundleError, match=f"cannot write to the cache {unwritable}") as error, store.locked(unwritable):
        pass
    assert "--cache DIR" in (error.value.remedy or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_cache_that_may_not_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0)
    with pytest.raises(BundleError, match="Permission denied"):
        bundle.locate(None, tmp_path / "cache")


def test_what_fails_in_a_held_cache_is_told_in_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(BundleError, match=f"cannot write to the cache {tmp_path}: No space left"),
        store.locked(tmp_path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_old_bundles_go_and_what_the_current_one_is_made_of_stays(cache: Path, tmp_path: Path) -> None:
    part = write_bundle(cache / "built" / "kubernetes-1", {"bin/tool": FILES["bin/tool"]})
    stale = write_bundle(cache / "built" / "kubernetes-0", {"bin/tool": b"older"})
    old = bundle.locate(None, cache)
    new = archive.unpack(packed_from(write_bundle(tmp_path / "new", {**FILES, "bin/more": b"more"})), cache)
    (cache / "downloads").mkdir()
    (cache / "downloads" / "0").write_bytes(b"1234")
    with store.locked(cache):
        gone = store.collect_garbage(cache)
    assert [name for name, _ in gone] == [f"built/{stale.name}", f"bundles/{old.manifest.name}", "downloads/0"]
    assert gone[2][1] == 4
    assert part.is_dir()
    assert [found.digest for found in store.bundles(cache)] == [new.digest]
    assert bundle.locate(None, cache).digest == new.digest


def test_a_bundle_that_a_cluster_runs_from_stays(cache: Path, source: Path, tmp_path: Path) -> None:
    sleep = write_bundle(tmp_path / "sleep", {"bin/sleep": Path("/bin/sleep").read_bytes()})
    old = archive.unpack(packed_from(sleep), cache)
    new = archive.unpack(packed_from(source), cache)
    with subprocess.Popen([old.binary("sleep"), "60"]) as process, store.locked(cache):
        try:
            assert store.collect_garbage(cache) == []
        finally:
            process.kill()
    assert {found.digest for found in store.bundles(cache)} == {old.digest, new.digest}
    with store.locked(cache):
        assert store.collect_garbage(cache, {old.manifest.name}) == []  # a stopped cluster's
        assert [name for name, _ in store.collect_garbage(cache)] == [f"bundles/{old.manifest.name}"]


def test_the_current_bundle_is_listed_first(cache: Path, tmp_path: Path) -> None:
    for number in range(4):
        content = {"bin/tool": str(number).encode()}
        new = archive.unpack(packed_from(write_bundle(tmp_path / f"new{number}", content)), cache)
        assert store.bundles(cache)[0].digest == new.digest
    assert len(store.bundles(cache)) == 5
