"""Real clusters in the jobs of a test instance: submitted as a user does, awaited, taken away."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flux.instance import Instance
from tests.flux.machines import UID, on_host, wait_until

BRING_UP_SECONDS = 240  # a bound for a busy machine
NODE_FOLDERS = f"/var/tmp/usernetes-{UID}"


@dataclass
class Clusters:
    """Submits ``usernetes-up.sh``; `bundle` is on a path that all hosts see."""

    instance: Instance
    bundle: Path

    @property
    def script(self) -> str:
        """The job script under test."""
        return str(self.instance.root / "usernetes-up.sh")

    def submit(self, *options: str, job: tuple[str, ...] = (), cwd: str = "/") -> str:
        """Submit the job script; `job` are its arguments. Returns the job's id."""
        settings = ["--set", f"bundle={self.bundle}", "--set", f"waitSeconds={BRING_UP_SECONDS - 20}"]
        return self.instance.ask("flux", "batch", "--output=kvs", *options, self.script, *settings, *job, cwd=cwd)

    def ready(self, job: str) -> str:
        """Wait until the cluster of a job is ready, and return the job's id."""

        def state() -> str:
            found = self.job(job)
            said = str(found["annotations"].get("user", {}).get("usernetes", ""))
            assert found["state"] != "INACTIVE" and said != "failed", self.output(job)
            return said

        wait_until(lambda: state() == "ready", f"the cluster of {job}", BRING_UP_SECONDS)
        return job

    def job(self, job: str) -> dict[str, Any]:
        """What Flux says of a job."""
        return dict(json.loads(self.instance.ask("flux", "jobs", "--json", job)))

    def ended(self, job: str, seconds: float = 120) -> int:
        """Wait for the end of a job; returns its exit code as Flux counts it (negative: a signal)."""
        wait_until(lambda: self.job(job)["state"] == "INACTIVE", f"the end of {job}", seconds)
        return int(self.job(job)["returncode"])

    def output(self, job: str) -> str:
        """What a job printed so far, stderr included."""
        argv = ["timeout", "3", "flux", "job", "attach", "--read-only", "--quiet", job]
        done = self.instance.run(argv)
        return done.stdout + done.stderr

    def left(self) -> dict[str, list[str]]:
        """What is on the hosts of the members that a cluster should not leave: processes, node folders, state."""
        found = {}
        for host in self.instance.members:
            listed = (
                f"ls -d {NODE_FOLDERS}/*-[0-9]* ~/.local/state/usernetes/*/cluster.json /tmp/usernetes-* 2>/dev/null"
            )
            folders = self.instance.run(["sh", "-c", listed], at=host).stdout.split()
            rest = self.instance.job_processes(host) + folders
            if rest:
                found[host] = rest
        return found

    def nothing_left(self, seconds: float = 10) -> float:
        """Wait until nothing is left; returns the seconds it took."""
        began = time.monotonic()
        while left := self.left():
            assert time.monotonic() - began < seconds, left
            time.sleep(0.05)
        return time.monotonic() - began

    def usernetes(self, *words: str, at: str | None = None) -> str:
        """Run a verb on the login host; it must succeed."""
        return self.instance.ask("usernetes", *words, at=at)

    def refused(self, *words: str) -> tuple[int, str]:
        """Run a verb that fails: its exit code and what it said."""
        done = self.instance.run(["usernetes", *words])
        assert done.returncode, done.stdout
        assert not done.stdout
        return done.returncode, done.stderr


__all__ = ["Clusters", "on_host"]
