"""The places without pods: ``bare-metal`` with no cluster there, and ``bare-metal-beside`` one that idles.

They differ in nothing but the state of the cluster, which `netbench.places.cluster` sees to.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from netbench.plan.document import HostPlan, Plan
from netbench.start.mpi import Seat
from usernetes_deploy.errors import CommandFailed, UsernetesError
from usernetes_deploy.launch.slurm.steps import argv_for, environment


class HostPlace:
    """The hosts themselves."""

    def __init__(self, name: str, seats: Sequence[Seat]) -> None:
        self.name = name
        self.front = None
        self._seats = list(seats)

    def open(self) -> None:
        """Nothing is to be made."""

    def seats(self) -> Sequence[Seat]:
        """The hosts."""
        return self._seats

    def done(self) -> None:
        """Nothing is left to be put away."""

    def trouble(self) -> str | None:
        """A host has nothing of its own to break."""
        return None

    def close(self) -> None:
        """Nothing was made."""


def host_seats(plan: Plan) -> list[Seat]:
    """How each host of the plan is reached; without hosts, this machine is as many nodes as the plan wants,
    named as those of a cluster that was brought up here."""
    if not plan.hosts and plan.launcher in OF_A_JOB:
        return OF_A_JOB[plan.launcher]()
    if not plan.hosts:
        address = own_address()
        return [Seat(f"node{i}", address) for i in range(max(plan.nodes))]
    return [_seat(host, i, plan.launcher) for i, host in enumerate(plan.hosts)]


def flux_seats() -> list[Seat]:
    """The brokers of the Flux instance we are in, by their own names and addresses. Raises `UsernetesError`."""
    try:
        size = int(_answer(["flux", "getattr", "size"]))
    except ValueError as error:
        raise UsernetesError("flux getattr size gave no number", remedy="run inside a Flux job") from error
    return [_asked(f"Flux rank {rank}", ("flux", "exec", "--noinput", "-r", str(rank))) for rank in range(size)]


def slurm_seats() -> list[Seat]:
    """The hosts of the Slurm job we are in, in its order, by their own names and addresses. Raises `UsernetesError`."""
    names = _answer(["scontrol", "show", "hostnames"]).split()
    return [_asked(f"the host {name}", step_on(name)) for name in names]


def step_on(host: str) -> tuple[str, ...]:
    """What comes in front of a command to run it on a host of our Slurm job, beside the job's other steps.

    The options of the job script stay away: they are in our environment, and would be those of every step.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job:
        raise UsernetesError("this is not inside a Slurm job", remedy="run inside a Slurm job")
    kept = environment()
    dropped = (f"--unset={name}" for name in sorted(os.environ) if name not in kept)
    return ("env", *dropped, *argv_for(job, host, (), "--input=none", "--quiet"))


OF_A_JOB = {"flux": flux_seats, "slurm": slurm_seats}


def _asked(what: str, run: tuple[str, ...]) -> Seat:
    words = _answer([*run, "sh", "-c", _NAME_AND_ADDRESS]).split()
    if len(words) != 2:
        raise UsernetesError(f"{what} has no address", remedy="name the hosts in the plan")
    return Seat(words[0], words[1], run)


# The address that faces other hosts: of the default route, else the first that is not local.
_NAME_AND_ADDRESS = r"""uname -n; { ip -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p'
ip -o addr show scope global | sed -n 's/.* inet \([^\/]*\).*/\1/p'; } | head -n 1"""


def _answer(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsernetesError(f"{argv[0]} gave no answer: {error}", remedy="run inside a job") from error
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr, remedy="run inside a job")
    return done.stdout


def own_address(towards: str = "192.0.2.1") -> str:
    """The address of this machine that faces `towards`; nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in towards else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _seat(host: HostPlan, index: int, launcher: str) -> Seat:
    if host.run:
        return Seat(host.name, host.address, host.run, joined=Path(host.run[0]).name == "ssh")
    if launcher == "ssh":
        return Seat(host.name, host.address, ("ssh", "-oBatchMode=yes", host.name), joined=True)
    if launcher == "flux":
        return Seat(host.name, host.address, ("flux", "exec", "--noinput", "-r", str(index)))
    if launcher == "slurm":
        return Seat(host.name, host.address, step_on(host.name))
    return Seat(host.name, host.address)
