"""Request and response over one TCP connection between two nodes, by sockperf: how long an answer takes.

sockperf is packaged by the common distributions and prints percentiles; iperf3 has no such test and netperf's licence
keeps it out of several of them.
"""

# ruff: noqa: ARG002 - the arguments are those of the interface, `netbench.cases.base.Case`

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from netbench.cases.base import Command, NotSane, Parsed, Setup
from netbench.records.record import Sample

REMEDY = "install the package sockperf on every node"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class TcpRequestResponse:
    """The figure is the median round trip; the mean and the 99th percentile are given beside it."""

    name: str = "tcp_rr"
    family: str = "tcp"
    kind: Literal["mpi", "pair", "pod"] = "pair"
    ready: str = "to block on socket"

    @property
    def defaults(self) -> Mapping[str, str]:
        """Seconds of the run and bytes of a request."""
        return {"seconds": "3", "bytes": "64"}

    def identity(self, setup: Setup) -> tuple[str, str, str]:
        """Always the same."""
        return self.name, "sockperf", "sockperf"

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """Two nodes, one process on each."""
        return None if node_count == 2 else "tcp_rr runs between exactly 2 nodes"

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """The run and the server's start."""
        return float(parameters["seconds"]) + 2

    def command(self, setup: Setup) -> Command:
        """The client's, as far as it is known before there is an address."""
        return self.client(setup, "", 0)

    def server(self, setup: Setup, address: str, port: int) -> Command:
        """Serves until it is stopped."""
        program = str(setup.software.program("sockperf", remedy=REMEDY))
        return Command((program, "server", "--tcp", "-i", address, "-p", str(port)), binaries={"sockperf": program})

    def client(self, setup: Setup, address: str, port: int) -> Command:
        """A ping-pong of small messages, timed as full round trips."""
        program = str(setup.software.program("sockperf", remedy=REMEDY))
        p = setup.parameters
        argv = (program, "ping-pong", "--tcp", "-i", address, "-p", str(port), "-t", p["seconds"], "-m", p["bytes"])
        return Command((*argv, "--full-rtt"), binaries={"sockperf": program})

    def parse(self, text: str, setup: Setup) -> Parsed:
        """Microseconds of a round trip."""
        plain = COLOUR.sub("", text)
        found = {
            "latency": re.search(r"percentile 50\.000 = +([\d.]+)", plain),
            "latency_p99": re.search(r"percentile 99\.000 = +([\d.]+)", plain),
            "latency_mean": re.search(r"Summary: Round trip is ([\d.]+) usec", plain),
        }
        lost = re.search(r"# dropped messages = (\d+);", plain)
        for metric, match in found.items():
            if match is None or not float(match[1]) > 0:
                raise NotSane(f"sockperf printed no {metric}")
        if lost is None or int(lost[1]):
            raise NotSane(f"sockperf lost {lost[1] if lost else 'an unknown number of'} messages")
        version = re.search(r"== version #(\S+) ==", plain)
        samples = tuple(
            Sample(metric, "us", float(match[1]), "lower" if metric == "latency" else "none")
            for metric, match in found.items()
            if match
        )
        return Parsed(samples, "sockperf", "sockperf", version[1] if version else None)

    def least_bytes(self, setup: Setup) -> int:
        """A hundred requests a second would be less than any network gives."""
        return int(float(setup.parameters["seconds"]) * 100 * int(setup.parameters["bytes"]))


CASE = TcpRequestResponse()
