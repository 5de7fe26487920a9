"""How the hosts of a job are reached."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netbench.places.hosts import slurm_seats, step_on
from netbench.places.reach import on_seats
from usernetes_deploy.errors import UsernetesError


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of two hosts, by the commands of Slurm; `srun` writes down its options and runs the command here."""
    commands = {
        "scontrol": 'printf "n1\\nn2\\n"',
        "srun": f"""
options=; while [ "$1" != -- ]; do options="$options $1"; shift; done; shift
echo "$options ${{SLURM_NTASKS-unset}}" >>{tmp_path}/calls
exec "$@"
""",
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_NTASKS", "64")  # the script's own, not a step's
    return tmp_path


def test_a_seat_is_a_step_beside_the_jobs_own_steps(job: Path) -> None:
    seats = slurm_seats()
    assert len(seats) == 2
    calls = (job / "calls").read_text().splitlines()
    assert ["--nodelist=n1" in calls[0], "--nodelist=n2" in calls[1]] == [True, True]
    assert all("--jobid=12 --overlap" in call and call.endswith(" unset") for call in calls)


def test_it_reads_nothing_of_ours_unless_it_is_given_something(job: Path) -> None:
    seat = slurm_seats()[0]
    assert "--input=none" in seat.argv("true")
    assert on_seats([seat], "cat", stdin=b"for it") == {seat.name: "for it"}
    assert "--input=none" not in (job / "calls").read_text().splitlines()[-1]


def test_outside_a_job_there_are_none(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(UsernetesError, match="not inside a Slurm job"):
        step_on("n1")
    (job / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UsernetesError, match="scontrol"):
        slurm_seats()


def test_what_a_step_says_comes_back(job: Path) -> None:
    del job
    done = subprocess.run([*step_on("n1"), "echo", "hello"], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"
