"""Real clusters in Slurm jobs: submitted as a user does, awaited, taken away."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.flux.machines import wait_until
from tests.slurm.instance import UID, Slurm, processes_on

BRING_UP_SECONDS = 240  # a bound for a busy machine
NODE_FOLDERS = f"/var/tmp/usernetes-{UID}"
LEFT = (
    f"ls -d {NODE_FOLDERS}/*-[0-9]* ~/.local/state/usernetes/*/cluster.json ~/.local/state/usernetes/.jobs/*.json "
    "2>/dev/null"
)


@dataclass
class Clusters:
    """Submits ``usernetes-up.sh``; `bundle` is on a path that all hosts see."""

    slurm: Slurm
    bundle: Path

    @property
    def script(self) -> str:
        """The job script under test."""
        return str(self.slurm.root / "usernetes-up.sh")

    @property
    def settings(self) -> list[str]:
        """What every cluster of these tests is told."""
        return ["--set", f"bundle={self.bundle}", "--set", f"waitSeconds={BRING_UP_SECONDS - 20}"]

    def submit(self, *options: str, job: tuple[str, ...] = (), env: dict[str, str] | None = None) -> str:
        """Submit the job script; `job` are its arguments. Returns the job's id."""
        output = f"--output={self.slurm.root}/output/%j"
        return self.slurm.ask("sbatch", "--parsable", output, *options, self.script, *self.settings, *job, env=env)

    def comment(self, job: str) -> str:
        """What a job says of its cluster."""
        return self.slurm.ask("squeue", "--states=all", "--noheader", f"--jobs={job}", "--format=%k")

    def state(self, job: str) -> str:
        """Slurm's word for a job's state."""
        return self.slurm.ask("squeue", "--states=all", "--noheader", f"--jobs={job}", "--format=%T")

    def ready(self, job: str) -> str:
        """Wait until the cluster of a job is ready, and return the job's id."""

        def look() -> bool:
            comment = self.comment(job)
            assert self.state(job) in ("PENDING", "CONFIGURING", "RUNNING"), self.output(job)
            assert "usernetes=failed" not in comment, self.output(job)
            return "usernetes=ready" in comment

        wait_until(look, f"the cluster of {job}", BRING_UP_SECONDS)
        return job

    def ended(self, job: str, seconds: float = 120) -> str:
        """Wait for the end of a job; returns its exit code as Slurm writes it (``7:0``, ``0:15`` for a signal)."""
        going = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
        wait_until(lambda: self.state(job) not in going, f"the end of {job}", seconds)
        words = self.slurm.ask("scontrol", "--oneliner", "show", "job", job).split()
        return next(word.partition("=")[2] for word in words if word.startswith("ExitCode="))

    def output(self, job: str) -> str:
        """What a job printed so far."""
        path = self.slurm.root / "output" / job
        return path.read_text(errors="replace") if path.exists() else ""

    def left(self) -> dict[str, list[str]]:
        """What is on the hosts that a cluster should not leave: processes, node folders, state, records."""
        found = {}
        for host in self.slurm.members:
            rest = processes_on(host) + self.slurm.run(["sh", "-c", LEFT], at=host).stdout.split()
            if rest:
                found[host] = rest
        return found

    def nothing_left(self, seconds: float = 15) -> float:
        """Wait until nothing is left; returns the seconds it took."""
        began = time.monotonic()
        while left := self.left():
            assert time.monotonic() - began < seconds, left
            time.sleep(0.05)
        return time.monotonic() - began

    def usernetes(self, *words: str, at: str | None = None, timeout: float = 120) -> str:
        """Run a verb on the login host; it must succeed."""
        return self.slurm.ask("usernetes", *words, at=at, timeout=timeout)

    def refused(self, *words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        """Run a verb that fails: its exit code and what it said."""
        done = self.slurm.run(["usernetes", *words], env=env)
        assert done.returncode, done.stdout
        assert not done.stdout
        return done.returncode, done.stderr
