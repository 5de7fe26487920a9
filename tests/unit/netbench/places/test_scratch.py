"""netbench's own files get to hosts that do not see this disk, unchanged, or nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbench.places.scratch import hand_out, make, scratch_of, take_back
from netbench.start.mpi import Seat
from tests.unit.netbench.fakes import program
from usernetes_deploy.errors import HostNotFit, UsernetesError


def far(tmp_path: Path, scratch: Path, stdin: str = "") -> tuple[Seat, Path]:
    """A host on which the path of `scratch` is another folder; `stdin` redirects what it is given."""
    there = tmp_path / "far" / "x" / "scratch"
    script = f"""#!/bin/sh
[ "$1" = sh ] || {{ echo "not understood: $1" >&2; exit 1; }}
exec sh -c "$(printf '%s' "$3" | sed 's|{scratch}|{there}|g')" {stdin}
"""
    return Seat("far0", "10.0.0.2", (str(program(tmp_path / "reach", script)),)), there


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "here" / "scratch"
    make(folder)
    program(folder / "bin" / "tool", "#!/bin/sh\necho it runs\n")
    (folder / "inputs").mkdir()
    (folder / "inputs" / "in file").write_bytes(b"\0\xff\n")
    return folder


def test_a_host_gets_the_same_bytes_once(tmp_path: Path, scratch: Path) -> None:
    seat, there = far(tmp_path, scratch)
    assert hand_out(scratch, [Seat("here", "10.0.0.1"), seat]) == ["far0"]
    assert (there / "inputs" / "in file").read_bytes() == b"\0\xff\n"
    assert (there / "bin" / "tool").stat().st_mode & 0o111
    assert hand_out(scratch, [seat]) == []
    (there / "inputs" / "in file").write_text("another")
    assert hand_out(scratch, [seat]) == ["far0"]
    assert (there / "inputs" / "in file").read_bytes() == b"\0\xff\n"
    take_back(scratch, [seat])
    assert not there.exists()
    assert not scratch.exists()


def test_a_host_that_sees_this_disk_gets_nothing(scratch: Path) -> None:
    assert hand_out(scratch, [Seat("a", "10.0.0.1", ("env",))]) == []


def test_input_is_given_to_what_would_refuse_it(tmp_path: Path, scratch: Path) -> None:
    seat, there = far(tmp_path, scratch)
    program(
        tmp_path / "flux", f'#!/bin/sh\n[ "$1" = --noinput ] && {{ shift; exec </dev/null; }}\n{seat.run[0]} "$@"\n'
    )
    assert hand_out(scratch, [Seat("far0", "10.0.0.2", (str(tmp_path / "flux"), "--noinput"))]) == ["far0"]
    assert (there / "bin" / "tool").is_file()


def test_a_host_that_cannot_get_them_is_named_before_anything_runs(tmp_path: Path, scratch: Path) -> None:
    seat, _ = far(tmp_path, scratch, stdin="</dev/null")
    with pytest.raises(HostNotFit, match=r"(?s)handed out: far0: .*fix: give a folder.* software\.scratch"):
        hand_out(scratch, [seat])


def test_a_folder_that_somebody_else_laid_there_is_not_used(tmp_path: Path, scratch: Path) -> None:
    seat, there = far(tmp_path, scratch)
    there.parent.mkdir(parents=True)
    there.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(HostNotFit, match="belongs to another user"):
        hand_out(scratch, [seat])
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsernetesError, match="belongs to another user"):
        make(tmp_path / "link")


def test_each_campaign_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, other = scratch_of(tmp_path / "a", None), scratch_of(tmp_path / "b", None)
    assert one != other
    assert one == scratch_of(tmp_path / "a", None)
    assert scratch_of(tmp_path / "a", "/shared").parent == Path("/shared")
