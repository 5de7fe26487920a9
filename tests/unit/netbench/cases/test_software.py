"""Where installed software is found, and what a pod must see of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from netbench.cases.software import MissingSoftware, Software, builtin_program, find_software, options_of
from usernetes_deploy.errors import UsageError


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "where",
    [
        "bin/osu_bw",
        "libexec/osu-micro-benchmarks/mpi/pt2pt/osu_bw",
        "mpi/pt2pt/osu_bw",
        "pt2pt/osu_bw",
        "libexec/osu-micro-benchmarks/mpi/pt2pt/standard/osu_bw",
    ],
)
def test_osu_is_found_below_a_prefix(tmp_path: Path, where: str) -> None:
    made = program(tmp_path / where)
    assert Software(tmp_path, (tmp_path,)).osu("osu_bw") == made
    assert Software(tmp_path, (tmp_path,)).osu("osu_latency") is None


def test_osu_is_found_beside_the_folder_that_path_names(tmp_path: Path) -> None:
    made = program(tmp_path / "libexec/osu-micro-benchmarks/mpi/pt2pt/osu_bw")
    assert Software(tmp_path, path=(tmp_path / "bin",)).osu("osu_bw") == made


def test_modules_are_loaded_by_a_login_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".bash_profile").write_text(
        'module() { [ "$2" = osu/7 ] || { echo "ERROR: Unable to locate a modulefile for $2" >&2; return 0; }\n'
        f"export PATH={tmp_path}/osu/bin:$PATH; }}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    made = program(tmp_path / "osu/bin/osu_bw")
    assert find_software(tmp_path, modules=["osu/7"]).osu("osu_bw") == made
    with pytest.raises(MissingSoftware, match="Unable to locate a modulefile for osu/9"):
        find_software(tmp_path, modules=["osu/9"])


def test_a_prefix_that_is_no_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        find_software(tmp_path, [str(tmp_path / "nope")])


def test_old_releases_lack_options_and_say_so_in_their_help(tmp_path: Path) -> None:
    old = program(tmp_path / "old", '#!/bin/sh\necho "options:\n  -x ITER   warm-up\n  -i ITER   rounds"\nexit 1\n')
    assert options_of(old, "") == {"x", "i"}


def test_mounts_are_whole_prefixes_and_leave_out_the_system(tmp_path: Path) -> None:
    software = Software(tmp_path / "out" / "scratch", (tmp_path / "mpi",), (tmp_path / "other" / "bin",))
    files = [
        str(tmp_path / "mpi/bin/mpiexec"),
        str(tmp_path / "out/scratch/bin/x"),
        str(tmp_path / "other/bin/lmp"),
        str(tmp_path / "lone/file"),
        "/usr/bin/iperf3",
        "/opt/osu/bin/osu_bw",
    ]
    assert software.mounts(files) == tuple(
        sorted(str(tmp_path / name) for name in ("mpi", "out/scratch", "other", "lone"))
    )


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    program(tmp_path / "bin/mpicc", '#!/bin/sh\necho "mpicc: cannot find cc" >&2\nexit 1\n')
    with pytest.raises(MissingSoftware, match="cannot find cc"):
        builtin_program(Software(tmp_path / "s", (tmp_path,)), "noise")


MPICC = shutil.which("mpicc") or shutil.which("mpicc", path=str(Path(sys.prefix) / "bin"))


@pytest.mark.skipif(MPICC is None, reason="no mpicc (extra `bench`)")
@pytest.mark.parametrize("source", ["pt2pt", "collective", "noise"])
def test_our_programs_compile_without_a_warning(tmp_path: Path, source: str) -> None:
    import subprocess

    from netbench.cases.software import BUILTIN

    argv = [str(MPICC), "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(BUILTIN / f"{source}.c")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
