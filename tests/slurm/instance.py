"""A real Slurm over test hosts: a slurmd a host, slurmctld on a login host that has none; ended exactly, by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.flux.machines import wait_until
from tests.users import subordinate, user_id

TOOLS = Path(__file__).resolve().parents[2] / "playbooks/roles/testhosts/files"
PREFIX = "sl"
SUBNET = "10.76.0"
USER = "hpcsl"
UID = user_id(USER)
COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch")
CPUS = max(2, os.cpu_count() or 1)  # of each host, as Slurm is told; all hosts have all of this machine's
MEMORY = 4000  # MiB of each host, as Slurm is told
GPUS = 2  # of each host: device files that do no harm

CONFIGURATION = """\
ClusterName=usernetes
SlurmctldHost={login}({subnet}.{login_number})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=15
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType={proctrack}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU={memory}
GresTypes=gpu,nic
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
MinJobAge=300
"""


def find_slurm() -> str | None:
    """What is missing of Slurm's programs; None when all are there."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [name for name in COMMANDS if not shutil.which(name, path=path)]
    return f"no {', '.join(missing)} in PATH" if missing else None


def testhosts(*arguments: str) -> None:
    """Run the tool that makes and removes the hosts."""
    identity = ["--prefix", PREFIX, "--subnet", f"{SUBNET}.0/24", "--user", USER]
    done = subprocess.run(
        [TOOLS / "testhosts", *identity, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def on_host(
    host: str, argv: Sequence[str], *, user: str = USER, cwd: str = "/", env: Mapping[str, str] | None = None
) -> list[str]:
    """The command line that runs `argv` on a host; its pid is that of `argv`."""
    settings = [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
    return [str(TOOLS / "on-host"), host, "--user", user, "--cwd", cwd, *settings, "--", *argv]


def processes_on(host: str) -> list[str]:
    """Command lines of the test user's processes on a host, those in namespaces of their own included."""
    uts = Path(f"/run/usernetes-testhosts/{PREFIX}/{host}/uts").stat().st_ino
    theirs = subordinate(USER)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            user = int((entry / "status").read_text().partition("\nUid:\t")[2].split(maxsplit=1)[0])
            if (user == UID or user in theirs) and (entry / "ns/uts").stat().st_ino == uts:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(f"{entry.name} {command}")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@dataclass
class Slurm:
    """The running Slurm, as its user sees it from the login host."""

    root: Path
    login: str
    members: list[str]
    scripts: Path
    proctrack: str = "proctrack/linuxproc"
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        """What a login gives, Slurm and the commands under test in PATH, plus `more`."""
        folders = [self.scripts, "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        return {"PATH": ":".join(map(str, folders)), "SLURM_CONF": f"{self.root}/slurm.conf", **more}

    def run(
        self,
        argv: Sequence[str],
        *,
        at: str | None = None,
        cwd: str = "/",
        stdin: str = "",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        user: str = USER,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` to its end as the test user on the login host, or on the host `at`."""
        command = on_host(at or self.login, argv, cwd=cwd, env=self.environment(**(env or {})), user=user)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def ask(self, *argv: str, at: str | None = None, timeout: float = 60, env: Mapping[str, str] | None = None) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(argv, at=at, timeout=timeout, env=env)
        assert done.returncode == 0, f"{argv}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self) -> None:
        """Start munged, slurmctld and a slurmd a host, and wait until all hosts are idle."""
        text = CONFIGURATION.format(
            login=self.login,
            subnet=SUBNET,
            login_number=10 + len(self.members),
            root=self.root,
            memory=MEMORY // CPUS,
            proctrack=self.proctrack,
        )
        for number, name in enumerate(self.members):
            text += f"NodeName={name} NodeAddr={SUBNET}.{10 + number} NodeHostname={name} CPUs={CPUS} "
            text += f"RealMemory={MEMORY} Gres=gpu:{GPUS},nic:1\n"
        text += "PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        text += "PartitionName=short Nodes=ALL MaxTime=10 State=UP\n"
        (self.root / "slurm.conf").write_text(text)
        self._make_devices()
        for folder in ("state", "spool"):
            (self.root / folder).mkdir(exist_ok=True)
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = ["munged", "--foreground", "--force", f"--socket={self.root}/munge.socket", f"--key-file={key}"]
        munge += [f"--{name}-file={self.root}/munge.{name}" for name in ("pid", "log", "seed")]
        self._daemon("munged", munge)
        wait_until((self.root / "munge.socket").exists, "munged", 10)
        self._daemon("slurmctld", on_host(self.login, self._with_conf("slurmctld", "-D"), user="root"))
        for name in self.members:
            self.start_slurmd(name)
        self.wait_for_members()

    def _make_devices(self) -> None:
        """Device files that read as zeros, and say in gres.conf that they are GPUs and a network card."""
        folder = self.root / "dev"
        folder.mkdir(exist_ok=True)
        for name in [*(f"gpu{number}" for number in range(GPUS)), "nic0"]:
            os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
            (folder / name).chmod(0o666)
        (self.root / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\nName=nic File={folder}/nic0\n")

    def start_slurmd(self, name: str) -> None:
        """Start the slurmd of one host."""
        (self.root / "spool" / name).mkdir(exist_ok=True)
        self._daemon(name, on_host(name, self._with_conf("slurmd", "-D", "-N", name), user="root"))

    def lose(self, name: str) -> None:
        """Kill the slurmd of a host, and those of its children that keep the steps of jobs."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()
        uts = Path(f"/run/usernetes-testhosts/{PREFIX}/{name}/uts").stat().st_ino
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdigit()
                    and (entry / "ns/uts").stat().st_ino == uts
                    and (entry / "comm").read_text().startswith("slurmstepd")
                ):
                    os.kill(int(entry.name), signal.SIGKILL)

    def restart_controller(self) -> None:
        """End slurmctld and start another one, as an upgrade does."""
        self._stop("slurmctld")
        self._daemon("slurmctld", on_host(self.login, self._with_conf("slurmctld", "-D"), user="root"))
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        """Wait until slurmctld answers."""
        wait_until(lambda: self.run(["scontrol", "ping"]).returncode == 0, "slurmctld", 30)

    def wait_for_members(self) -> None:
        """Wait until every host can be given to a job."""
        names = ",".join(self.members)
        argv = ["sinfo", "--noheader", "--Node", "--partition=debug", f"--nodes={names}", "--format=%T"]
        wait_until(lambda: self.run(argv).stdout.split() == ["idle"] * len(self.members), "all hosts idle", 60)

    def cancel_jobs(self, seconds: float = 60) -> None:
        """End all jobs, and wait until they have."""
        self.run(["scancel", f"--user={USER}"])
        wait_until(
            lambda: not self.run(["squeue", "--me", "--noheader"]).stdout.strip(), "the end of all jobs", seconds
        )

    def stop(self) -> None:
        """End what was started, and nothing else."""
        self.run(["scancel", f"--user={USER}"])
        for name in [*self.members, "slurmctld", "munged"]:
            self._stop(name)

    def _with_conf(self, *argv: str) -> list[str]:
        return [f"/usr/sbin/{argv[0]}", *argv[1:], "-f", f"{self.root}/slurm.conf"]

    def _daemon(self, name: str, argv: Sequence[str]) -> None:
        with (self.root / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _stop(self, name: str) -> None:
        daemon = self.daemons.pop(name, None)
        if daemon:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
