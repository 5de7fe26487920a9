"""Staging: verified, at once when it is there, nothing left behind when it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unit.bundle.conftest import FILES, write_bundle
from usernetes_deploy.bundle import archive, contents, stage, unpacking
from usernetes_deploy.bundle.store import Bundle
from usernetes_deploy.errors import BundleError
from usernetes_deploy.launch import nodezip


def left_in(parent: Path) -> list[str]:
    """What is in `parent` besides the lock."""
    return sorted(path.name for path in parent.iterdir() if path.name != ".lock")


def test_a_staged_bundle_is_the_source_under_its_digest(source: Path, tmp_path: Path) -> None:
    root = stage.stage(source, tmp_path / "node" / "bundle")
    assert root == tmp_path / "node" / "bundle" / unpacking.read_manifest(source).name
    assert {path: (root / path).read_bytes() for path in FILES} == FILES
    assert stage.problems(root, unpacking.read_manifest(root)) == []
    assert (root / "bin").stat().st_mode & 0o777 == 0o755


def test_the_umask_does_not_hide_a_bundle_from_other_users(source: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        root = stage.stage(source, tmp_path / "bundle")
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.iterdir())}
    assert modes == {
        root.name: 0o755,
        "bin": 0o755,
        "cni": 0o755,
        "images": 0o755,
        contents.MANIFEST: 0o644,
        stage.STAMP: 0o644,
    }


def test_what_is_there_and_untouched_is_not_read_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = stage.stage(source, tmp_path / "bundle")
    monkeypatch.setattr(stage, "sha256_of", lambda path: pytest.fail(f"{path} was hashed"))
    assert stage.stage(source, tmp_path / "bundle") == root
    assert stage.verify(root).name == root.name


def test_after_a_reboot_files_are_hashed_again(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = stage.stage(source, tmp_path / "bundle")
    monkeypatch.setattr(stage, "_boot_id", lambda: "another boot")
    hashed: list[Path] = []
    real = contents.sha256_of
    monkeypatch.setattr(stage, "sha256_of", lambda path: hashed.append(path) or real(path))  # type: ignore[func-returns-value]
    stage.stage(source, tmp_path / "bundle")
    assert sorted(hashed) == sorted(root / path for path in FILES)


@pytest.mark.parametrize(
    "how", ["flipped", "truncated", "removed", "not executable", "replaced by a link", "an addition"]
)
def test_a_damaged_staged_file_is_found_and_put_right(how: str, source: Path, tmp_path: Path) -> None:
    archived = archive.pack(Bundle(source, unpacking.read_manifest(source)), tmp_path / "bundle.tar.gz")
    root = stage.stage(archived, tmp_path / "bundle")
    tool = root / "bin/tool"
    if how == "flipped":
        tool.write_bytes(FILES["bin/tool"].replace(b"echo", b"exec"))
    elif how == "truncated":
        os.truncate(tool, 3)
    elif how == "not executable":
        tool.chmod(0o644)
    elif how == "an addition":
        (root / "bin/extra").write_text("x")
        (root / stage.STAMP).unlink()
    else:
        tool.unlink()
        if how == "replaced by a link":
            tool.symlink_to("/bin/true")
    with pytest.raises(BundleError, match=r"bin/(tool|extra): ") as error:
        stage.verify(root)
    assert "usernetes bundle build" in str(error.value)
    assert stage.stage(archived, tmp_path / "bundle") == root
    assert stage.problems(root, unpacking.read_manifest(root)) == []
    assert left_in(tmp_path / "bundle") == [root.name]


def test_a_damaged_source_is_refused_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    content = bytearray((source / "cni/bridge").read_bytes())
    content[17] ^= 1
    (source / "cni/bridge").write_bytes(content)
    with pytest.raises(BundleError, match=r"cni/bridge is damaged: its sha256 is"):
        stage.stage(source, tmp_path / "bundle")
    assert left_in(tmp_path / "bundle") == []


def test_a_source_that_lacks_a_file_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "bin/tool").unlink()
    with pytest.raises(BundleError, match=r"bin/tool: No such file or directory"):
        stage.stage(source, tmp_path / "bundle")
    assert left_in(tmp_path / "bundle") == []


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: manifest.json: No such file") as error:
        stage.stage(tmp_path, tmp_path / "bundle")
    assert error.value.remedy
    with pytest.raises(BundleError, match=r"No such file or directory"):
        stage.stage(tmp_path / "nowhere", tmp_path / "bundle")


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "bin/../../evil", "bin/a/b", "etc/passwd", "bin/.verified"])
def test_a_manifest_that_leads_outside_is_refused(path: str, source: Path, tmp_path: Path) -> None:
    document = json.loads((source / contents.MANIFEST).read_text())
    document["files"][path] = document["files"].pop("bin/tool")
    contents.write_manifest(source, contents.sealed(document))
    with pytest.raises(BundleError, match="names a file that no bundle has"):
        stage.stage(source, tmp_path / "bundle")


def test_a_manifest_with_another_content_than_its_digest_is_refused(source: Path) -> None:
    text = (source / contents.MANIFEST).read_text().replace("v1.36.3", "v1.36.4")
    (source / contents.MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="its digest does not fit"):
        unpacking.read_manifest(source)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "digest": "x", "files": {"bin/a": 1}}', "\xff"])
def test_what_is_not_a_manifest_is_refused(text: str, source: Path) -> None:
    (source / contents.MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="is not a bundle's manifest"):
        unpacking.read_manifest(source)


def test_a_manifest_of_a_later_schema_says_so(source: Path) -> None:
    document = json.loads((source / contents.MANIFEST).read_text())
    contents.write_manifest(source, contents.sealed({**document, "schema": 2}))
    with pytest.raises(BundleError, match="has schema 2, this version reads 1"):
        unpacking.read_manifest(source)


def test_stagings_at_once_give_one_bundle(source: Path, tmp_path: Path) -> None:
    program = nodezip.build(tmp_path)
    argv = [sys.executable, str(program), "stage", str(source), str(tmp_path / "bundle")]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0] * 6
    assert said == {str(tmp_path / "bundle" / unpacking.read_manifest(source).name)}
    assert len(left_in(tmp_path / "bundle")) == 1


def test_one_staging_waits_for_the_other(source: Path, tmp_path: Path) -> None:
    parent = tmp_path / "bundle"
    done = threading.Event()

    def other_staging() -> None:
        stage.stage(source, parent)
        done.set()

    with stage.locked(parent):
        other = threading.Thread(target=other_staging)
        other.start()
        time.sleep(0.2)
        assert not done.is_set()
        with (
            pytest.raises(BundleError, match=rf"in use by pid {os.getpid()} for 0 s"),
            stage.locked(parent, patience=0),
        ):
            pass
    other.join(timeout=10)
    assert done.is_set()


def test_what_a_killed_staging_left_is_cleared(source: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle" / ".placing-dead" / "bin").mkdir(parents=True)
    root = stage.stage(source, tmp_path / "bundle")
    assert left_in(tmp_path / "bundle") == [root.name]


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_folder_that_others_can_write_to_is_refused(mode: int, source: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(BundleError, match="everybody can write there"):
        stage.stage(source, tmp_path / "open" / "bundle")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to a group needs root")
def test_a_folder_that_a_group_can_write_to_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    os.chown(tmp_path / "open", 0, 1)
    (tmp_path / "open").chmod(0o775)
    with pytest.raises(BundleError, match=r"its group \(daemon\) can write there"):
        stage.stage(source, tmp_path / "open" / "bundle")


@pytest.mark.parametrize("umask", [0, 0o002, 0o007])
def test_folders_on_the_way_are_the_users_to_write_with_any_umask(umask: int, source: Path, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        root = stage.stage(source, tmp_path / "usernetes-1" / "bundle")
    finally:
        os.umask(before)
    for folder in (root, root.parent, root.parents[1]):
        assert not folder.stat().st_mode & 0o022


def test_a_folder_of_another_user_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    theirs = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: theirs)
    if os.getuid() == 0:
        os.chown(tmp_path / "bundle", 1234, 1234)
    with pytest.raises(BundleError, match="it belongs to uid"):
        stage.stage(source, tmp_path / "bundle")


def test_where_links_are_impossible_files_are_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_reflink", lambda *_: False)
    monkeypatch.setattr(stage, "_hard_link", lambda *_: False)
    root = stage.stage(source, tmp_path / "bundle")
    assert (root / "bin/tool").stat().st_ino != (source / "bin/tool").stat().st_ino
    assert stage.problems(root, unpacking.read_manifest(root)) == []


def test_a_full_disk_is_named_and_nothing_stays(source: Path, tmp_path: Path) -> None:
    mount, unshare = shutil.which("mount"), shutil.which("unshare")
    if not mount or not unshare:
        pytest.skip("needs mount and unshare")
    write_bundle(tmp_path / "large", {"bin/large": os.urandom(3 << 20)})
    (tmp_path / "small").mkdir()
    program = nodezip.build(tmp_path)
    script = (
        f"mount -t tmpfs -o size=1m,mode=0755 small {tmp_path}/small && "
        f"{sys.executable} {program} stage {tmp_path}/large {tmp_path}/small/bundle; "
        f"echo $? $(ls -A {tmp_path}/small/bundle)"
    )
    done = subprocess.run(
        [unshare, "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "unshare failed" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout.split() == ["1", ".lock"]
    assert "ENOSPC: no space left for the bundle in" in done.stderr
    assert "fix: make room there" in done.stderr


def test_prune_removes_what_nobody_runs_or_wants(source: Path, tmp_path: Path) -> None:
    parent = tmp_path / "bundle"
    kept = stage.stage(source, parent)
    other = write_bundle(tmp_path / "other", {"bin/sleep": Path("/bin/sleep").read_bytes()})
    used = stage.stage(other, parent)
    with subprocess.Popen([used / "bin/sleep", "60"]) as process:
        try:
            assert stage.prune(parent, {kept.name}) == []
        finally:
            process.kill()
    assert stage.prune(parent, {kept.name}) == [used.name]
    assert left_in(parent) == [kept.name]


def test_the_oldest_python_that_nodes_have_can_stage(source: Path, tmp_path: Path) -> None:
    python = shutil.which("python3.9")
    if not python or subprocess.run([python, "-V"], capture_output=True, check=False).returncode:
        pytest.skip("no Python 3.9 here")
    program = nodezip.build(tmp_path)
    packed = archive.pack(Bundle(source, unpacking.read_manifest(source)), tmp_path / "bundle.tar.gz")
    for which in (source, packed):
        argv = [python, "-W", "error", str(program), "stage", str(which), str(tmp_path / f"for-{which.name}")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert stage.verify(Path(done.stdout.strip()), again=True)
