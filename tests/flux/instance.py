"""A real Flux instance over virtual machines: one broker a machine, bootstrapped from a configuration file."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.flux.machines import LOGIN, UID, USER, Machine, wait_until

PORT = 9073


def find_flux() -> str | None:
    """The `flux` command: the one in PATH, else the one below /opt/flux."""
    return shutil.which("flux") or shutil.which("flux", path="/opt/flux/bin")


@dataclass
class Instance:
    """The running instance, as its owner sees it from the login machine (which has no broker)."""

    flux: str
    root: Path
    login: Machine
    members: list[Machine]
    python: str
    brokers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The native URI of rank 0."""
        return f"local://{self.root}/run/{self.members[0].name}/local"

    def environment(self, **more: str) -> dict[str, str]:
        """What the test user's shell has: no more than a login would give, plus `more`."""
        home = pwd.getpwnam(USER).pw_dir
        return {
            "HOME": home,
            "USER": USER,
            "LOGNAME": USER,
            "LANG": "C.UTF-8",
            "PATH": f"{Path(self.python).parent}:{Path(self.flux).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "FLUX_URI": self.uri,
            "FLUX_SSH": str(self.root / "ssh"),
            **more,
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        at: Machine | None = None,
        cwd: str = "/",
        stdin: str = "",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` to its end as the test user on the login machine, or on the machine `at`."""
        return subprocess.run(
            (at or self.login).enter(argv, cwd=cwd),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(**(env or {})),
            check=False,
        )

    def ask(self, *argv: str, **options: object) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(argv, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, f"{argv}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self) -> None:
        """Start the brokers and wait until all are in."""
        config = self.root / "flux.toml"
        certificate = self.root / "curve.cert"
        subprocess.run([self.flux, "keygen", "--name=test", certificate], check=True, capture_output=True)
        os.chown(certificate, UID, UID)
        hosts = ",\n".join(
            f'  {{ host = "{m.name}", bind = "tcp://{m.address}:{PORT}", connect = "tcp://{m.address}:{PORT}" }}'
            for m in self.members
        )
        config.write_text(f'[bootstrap]\ncurve_cert = "{certificate}"\nhosts = [\n{hosts}\n]\n')
        for machine in self.members:
            self.start_broker(machine)
        up = ["flux", "exec", "-r", f"0-{len(self.members) - 1}", "true"]
        wait_until(lambda: self.run(up).returncode == 0, "the Flux instance", 30)

    def start_broker(self, machine: Machine) -> None:
        """Start the broker of one machine."""
        rundir = self.root / "run" / machine.name
        shutil.rmtree(rundir, ignore_errors=True)
        rundir.mkdir(parents=True)
        os.chown(rundir, UID, UID)
        rundir.chmod(0o700)
        argv = [self.flux, "broker", f"--config-path={self.root / 'flux.toml'}", f"-Srundir={rundir}"]
        argv += [f"-Slocal-uri=local://{rundir}/local", "-Sbroker.rc2_none"]
        environment = self.environment()
        del environment["FLUX_URI"]
        self.brokers[machine.name] = subprocess.Popen(
            machine.enter(argv),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=(self.root / machine.name / "broker.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Shut the instance down, and kill what does not end by itself."""
        self.run(["flux", "shutdown", "--quiet"], timeout=30)
        for broker in self.brokers.values():
            try:
                broker.wait(10)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


__all__ = ["LOGIN", "Instance", "find_flux"]
