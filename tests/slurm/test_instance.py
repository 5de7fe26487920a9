"""The Slurm of these tests is a real one, and the parts of it that we build on do what we expect."""

from __future__ import annotations

from tests.slurm.instance import Slurm


def test_an_ordinary_users_job_runs_on_all_hosts(slurm: Slurm) -> None:
    printed = slurm.ask("srun", "--nodes=3", "hostname")
    assert sorted(printed.split()) == slurm.members


def test_a_step_from_outside_reaches_one_host_beside_the_jobs_own(slurm: Slurm) -> None:
    job = slurm.ask("sbatch", "--parsable", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap", "srun sleep 60")
    step = ["srun", f"--jobid={job}", "--overlap", "--nodelist=sl1", "--nodes=1", "--ntasks=1", "--", "cat"]
    done = slurm.run(["sh", "-c", f"until squeue -h -j {job} -o %T | grep -q RUNNING; do sleep 0.1; done"])
    assert done.returncode == 0
    assert slurm.run(step, stdin="for you alone").stdout == "for you alone"
    slurm.cancel_jobs()
