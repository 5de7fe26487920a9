"""How long a new pod takes from the request to Ready, image already on the node."""

# ruff: noqa: ARG002 - the arguments are those of the interface, `netbench.cases.base.Case`

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from netbench.cases.base import Command, NoPair, NotSane, Parsed, Setup
from netbench.records.record import Sample


@dataclass(frozen=True)
class PodStart(NoPair):
    """The place starts the pods and holds the watch; its lines are ``started NODE SECONDS``."""

    name: str = "pod_start"
    family: str = "pods"
    kind: Literal["mpi", "pair", "pod"] = "pod"

    @property
    def defaults(self) -> Mapping[str, str]:
        """Nothing to choose."""
        return {}

    def identity(self, setup: Setup) -> tuple[str, str, str]:
        """Always the same."""
        return self.name, "netbench", "builtin"

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """One pod a node."""
        return None

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """Start and removal."""
        return 5

    def command(self, setup: Setup) -> Command:
        """There is no program: the place does it."""
        return Command(())

    def parse(self, text: str, setup: Setup) -> Parsed:
        """The slowest of the pods, one on every node, asked for at once."""
        took: list[float] = []
        for line in text.splitlines():
            found = re.fullmatch(r"started (\S+) (\d+\.\d+)", line)
            if not found:
                raise NotSane(f"output not understood: {line!r}")
            took.append(float(found[2]))
        if len(took) != setup.node_count:
            raise NotSane(f"{len(took)} of {setup.node_count} pods became ready")
        return Parsed((Sample("start_latency", "s", max(took), "lower"),), "netbench", "builtin", "1")

    def least_bytes(self, setup: Setup) -> int:
        """No message between nodes is needed."""
        return 0


CASE = PodStart()
