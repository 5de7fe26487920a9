"""What a benchmark is to netbench: how it is called, when its output is to be believed, and what it measured.

A case answers three questions without running anything: `command` (argv, environment, files that matter), `seconds`
(about how long), and `parse` (text to samples with units, or `NotSane`). Running is `netbench.measure`'s affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from netbench.cases.software import Software
from netbench.records.record import Sample


class NotSane(Exception):
    """The run gives no figure; the text says why, in one line."""


@dataclass(frozen=True)
class Setup:
    """What a case may know when it makes its command."""

    software: Software
    node_count: int
    ranks: int
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A benchmark's own command (without any MPI launcher) and the files that decide what it does."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    binaries: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """What an output says about itself: the figures, and who measured them."""

    samples: tuple[Sample, ...]
    tool: str
    label: str
    tool_version: str | None = None
    name: str | None = None
    notes: tuple[str, ...] = ()


class Case(Protocol):
    """One benchmark. `kind` says how it is run.

    ``mpi``: one MPI program on all nodes; ``pair``: a server on the second node, a client on the first; ``pod``:
    netbench itself starts pods with a stop-watch (places without pods cannot run it).
    """

    @property
    def name(self) -> str:
        """As in plans, e.g. ``osu_latency``."""

    @property
    def family(self) -> str:
        """``osu``, ``lammps``, ``tcp``, ``pods`` or ``noise``."""

    @property
    def kind(self) -> Literal["mpi", "pair", "pod"]:
        """How it is run."""

    @property
    def defaults(self) -> Mapping[str, str]:
        """Every parameter that a plan may set, with its default."""

    def identity(self, setup: Setup) -> tuple[str, str, str]:
        """Name, tool and label of the records made here, as far as known before the output says so."""

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """Why this number of nodes and ranks makes no sense here, or None."""

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """A rough guess of one run, used for the plan's time estimate until runs of this case are recorded."""

    def command(self, setup: Setup) -> Command:
        """The command of the MPI program or of the client. Raises `MissingSoftware`."""

    def server(self, setup: Setup, address: str, port: int) -> Command:
        """The command of a pair's server."""

    def client(self, setup: Setup, address: str, port: int) -> Command:
        """The command of a pair's client."""

    def parse(self, text: str, setup: Setup) -> Parsed:
        """The figures in `text`, the standard output. Raises `NotSane`."""

    def least_bytes(self, setup: Setup) -> int:
        """Bytes that must cross between nodes in one run at the very least; tells TCP from shared memory."""


class NoPair:
    """Mixed into cases that are no pairs of server and client."""

    def server(self, setup: Setup, address: str, port: int) -> Command:
        """Refuse: there is no server."""
        raise NotImplementedError(f"{type(self).__name__} has no server")

    def client(self, setup: Setup, address: str, port: int) -> Command:
        """Refuse: there is no client."""
        raise NotImplementedError(f"{type(self).__name__} has no client")
