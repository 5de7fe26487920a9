"""A real Flux instance over test hosts: one broker a host, bootstrapped from a configuration file."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.flux.machines import PREFIX, UID, on_host, processes_on, wait_until

PORT = 9073
HOSTS = Path(f"/var/lib/usernetes-testhosts/{PREFIX}")


def find_flux() -> str | None:
    """The `flux` command: the one in PATH, else the one below /opt/flux."""
    return shutil.which("flux") or shutil.which("flux", path="/opt/flux/bin")


@dataclass
class Instance:
    """The running instance, as its owner sees it from the login host (which has no broker)."""

    flux: str
    root: Path
    login: str
    members: list[str]
    python: str
    scripts: Path
    brokers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The native URI of rank 0, whose socket is on a path that all hosts see (as on a login node of its own)."""
        return f"local://{self.root}/run/{self.members[0]}/local"

    def environment(self, **more: str) -> dict[str, str]:
        """What a login gives, Flux and the commands under test in PATH, plus `more`."""
        folders = [self.scripts, Path(self.flux).parent, "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        return {
            "PATH": ":".join(map(str, folders)),
            "FLUX_URI": self.uri,
            "FLUX_SSH": str(self.root / "ssh"),
            **more,
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        at: str | None = None,
        cwd: str = "/",
        stdin: str = "",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` to its end as the test user on the login host, or on the host `at`."""
        command = on_host(at or self.login, argv, cwd=cwd, env=self.environment(**(env or {})))
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def ask(
        self,
        *argv: str,
        at: str | None = None,
        cwd: str = "/",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(argv, at=at, cwd=cwd, timeout=timeout, env=env)
        assert done.returncode == 0, f"{argv}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self) -> None:
        """Start the brokers and wait until all are in."""
        certificate = self.root / "curve.cert"
        if not certificate.exists():
            subprocess.run([self.flux, "keygen", "--name=test", certificate], check=True, capture_output=True)
            os.chown(certificate, UID, UID)
        entries = ",\n".join(
            f'  {{ host = "{name}", bind = "tcp://eth0:{PORT}", connect = "tcp://{name}:{PORT}" }}'
            for name in self.members
        )
        # A broker that is lost is missed within seconds rather than within half a minute.
        (self.root / "flux.toml").write_text(
            f'[bootstrap]\ncurve_cert = "{certificate}"\nhosts = [\n{entries}\n]\n[tbon]\ntcp_user_timeout = "2s"\n'
        )
        remote_shell = f'#!/bin/sh\nexec ssh -q -F {HOSTS}/ssh_config "$@"\n'
        (self.root / "ssh").write_text(remote_shell)
        (self.root / "ssh").chmod(0o755)
        for name in self.members:
            self.start_broker(name)
        self.wait_for_members()

    def wait_for_members(self) -> None:
        """Wait until every broker is in and its host can be given to a job."""
        listed = ["flux", "resource", "list", "--no-header", "--states=free", "--format={nnodes}"]
        wait_until(lambda: self.run(listed).stdout.strip() == str(len(self.members)), "the Flux instance", 30)

    def start_broker(self, name: str) -> None:
        """Start the broker of one host."""
        rundir = self.root / "run" / name
        shutil.rmtree(rundir, ignore_errors=True)
        rundir.mkdir(parents=True)
        os.chown(rundir, UID, UID)
        rundir.chmod(0o700)
        argv = [self.flux, "broker", f"--config-path={self.root / 'flux.toml'}", f"-Srundir={rundir}"]
        argv += [f"-Slocal-uri=local://{rundir}/local", "-Sbroker.rc2_none"]
        environment = self.environment()
        del environment["FLUX_URI"]
        with (self.root / f"{name}.log").open("ab") as log:
            self.brokers[name] = subprocess.Popen(
                on_host(name, argv, env=environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cancel_jobs(self, seconds: float = 60) -> None:
        """End all jobs, and wait until they have; what does not end by then is left for `stop`."""
        self.run(["flux", "cancel", "--all"])
        ends = time.monotonic() + seconds
        while self.run(["flux", "jobs", "--no-header"]).stdout.strip() and time.monotonic() < ends:
            time.sleep(0.2)

    def stop(self) -> None:
        """Shut the instance down, and kill what does not end by itself."""
        self.run(["flux", "shutdown", "--quiet"], timeout=30)
        for broker in self.brokers.values():
            try:
                broker.wait(10)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()

    def job_processes(self, host: str) -> list[str]:
        """Command lines of the test user's processes on a host, the instance's own broker and modules left out."""
        system = self.brokers[host].pid if host in self.brokers else 0
        found = []
        for pid, command in processes_on(host).items():
            if pid != system and "flux-module-python-exec" not in command and "flux-job-validator" not in command:
                found.append(f"{pid} {command}")
        return found
