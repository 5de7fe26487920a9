"""The node program on a host: once per content, from hands that are the user's own, with a Python that can run it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from usernetes_deploy.errors import HostNotFit, UsernetesError
from usernetes_deploy.launch.base import Completed
from usernetes_deploy.launch.program import put_program

Run = Callable[[Sequence[str], bytes], Completed]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the real script with tmp_path in the place of /var/tmp."""

    def command(argv: Sequence[str], stdin: bytes) -> Completed:
        words = [word.replace("/var/tmp", str(tmp_path)) for word in argv]
        done = subprocess.run(words, input=stdin, capture_output=True, check=False)
        return Completed(argv, done.returncode, done.stdout.decode(), done.stderr.decode())

    return command


def base(tmp_path: Path) -> Path:
    return tmp_path / f"usernetes-{os.getuid()}"


def test_it_lies_under_its_digest_for_the_user_alone(run: Run, tmp_path: Path) -> None:
    python, path = put_program(b"the program", run, "n0")
    assert Path(path) == base(tmp_path) / "program" / hashlib.sha256(b"the program").hexdigest()[:16] / "node.pyz"
    assert Path(path).read_bytes() == b"the program"
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0
    for folder in (Path(path).parent, Path(path).parents[1], base(tmp_path)):
        assert folder.stat().st_mode & 0o777 == 0o700
    inode = Path(path).stat().st_ino
    assert put_program(b"the program", run, "n0") == (python, path)
    assert Path(path).stat().st_ino == inode


def test_a_damaged_or_replaced_one_is_put_anew(run: Run, tmp_path: Path) -> None:
    _, path = put_program(b"the program", run, "n0")
    Path(path).write_bytes(b"other")
    put_program(b"the program", run, "n0")
    assert Path(path).read_bytes() == b"the program"
    (tmp_path / "elsewhere").write_bytes(b"the program")
    Path(path).unlink()
    Path(path).symlink_to(tmp_path / "elsewhere")
    put_program(b"the program", run, "n0")
    assert not Path(path).is_symlink()


def test_a_folder_that_leads_elsewhere_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    base(tmp_path).symlink_to(tmp_path / "theirs")
    with pytest.raises(UsernetesError, match=r"n0: put the node program in place: .* belongs to somebody else"):
        put_program(b"x", run, "n0")
    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
@pytest.mark.parametrize("part", [".", "program"])
def test_a_folder_of_another_user_is_refused(run: Run, tmp_path: Path, part: str) -> None:
    folder = base(tmp_path) / part
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    with pytest.raises(UsernetesError, match="belongs to somebody else"):
        put_program(b"x", run, "n0")


def test_a_host_without_a_python_that_fits_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "id", "mkdir", "chmod", "sha256sum", "cat", "mv", "rm"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(HostNotFit, match=r"(?s)n0.*no Python 3\.9 or newer"):
        put_program(b"x", run, "n0")
    newer = programs / "python3.11"  # as on RHEL 8, whose python3 is 3.6
    newer.write_text("#!/bin/sh\nexit 0\n")
    newer.chmod(0o755)
    assert put_program(b"x", run, "n0")[0] == str(newer)
