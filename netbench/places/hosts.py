"""The places without pods: ``bare-metal`` with no cluster there, and ``bare-metal-beside`` one that idles.

They differ in nothing but the state of the cluster, which `netbench.places.cluster` sees to.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from netbench.plan.document import HostPlan, Plan
from netbench.start.mpi import Seat
from usernetes_deploy.errors import CommandFailed, UsernetesError


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
    if not plan.hosts and plan.launcher == "flux":
        return flux_seats()
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
    seats = []
    for rank in range(size):
        run = ("flux", "exec", "--noinput", "-r", str(rank))
        words = _answer([*run, "sh", "-c", _NAME_AND_ADDRESS]).split()
        if len(words) != 2:
            raise UsernetesError(f"Flux rank {rank} has no address", remedy="name the hosts in the plan")
        seats.append(Seat(words[0], words[1], run))
    return seats


# The address that faces other hosts: of the default route, else the first that is not local.
_NAME_AND_ADDRESS = r"""uname -n; { ip -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p'
ip -o addr show scope global | sed -n 's/.* inet \([^\/]*\).*/\1/p'; } | head -n 1"""


def _answer(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsernetesError(f"{argv[0]} gave no answer: {error}", remedy="run inside a Flux job") from error
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr, remedy="run inside a Flux job")
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
    return Seat(host.name, host.address)
