"""Throughput of one TCP stream between two nodes, by iperf3."""

# ruff: noqa: ARG002 - the arguments are those of the interface, `netbench.cases.base.Case`

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from netbench.cases.base import Command, NotSane, Parsed, Setup
from netbench.records.record import Sample

REMEDY = "install the package iperf3 on every node"


@dataclass(frozen=True)
class TcpStream:
    """iperf3's own JSON is kept as the raw output; the figure is what the receiver counted."""

    name: str = "tcp_stream"
    family: str = "tcp"
    kind: Literal["mpi", "pair", "pod"] = "pair"
    ready: str = "Server listening on"

    @property
    def defaults(self) -> Mapping[str, str]:
        """Seconds of the measured part; one second before it is left out."""
        return {"seconds": "5"}

    def identity(self, setup: Setup) -> tuple[str, str, str]:
        """Always the same."""
        return self.name, "iperf3", "iperf3"

    def refuses(self, node_count: int, ranks: int) -> str | None:
        """Two nodes, one process on each."""
        return None if node_count == 2 else "tcp_stream runs between exactly 2 nodes"

    def seconds(self, parameters: Mapping[str, str]) -> float:
        """The stream, its warm-up and the server's start."""
        return float(parameters["seconds"]) + 2

    def command(self, setup: Setup) -> Command:
        """The client's, as far as it is known before there is an address."""
        return self.client(setup, "", 0)

    def server(self, setup: Setup, address: str, port: int) -> Command:
        """Serves one client and ends."""
        program = str(setup.software.program("iperf3", remedy=REMEDY))
        argv = (program, "--server", "--one-off", "--forceflush", "--bind", address, "--port", str(port))
        return Command(argv, binaries={"iperf3": program})

    def client(self, setup: Setup, address: str, port: int) -> Command:
        """One stream, one second of warm-up."""
        program = str(setup.software.program("iperf3", remedy=REMEDY))
        argv = (program, "--client", address, "--port", str(port), "--time", setup.parameters["seconds"])
        return Command((*argv, "--omit", "1", "--json"), binaries={"iperf3": program})

    def parse(self, text: str, setup: Setup) -> Parsed:
        """Gbit/s as received; retransmissions for information."""
        try:
            report: Any = json.loads(text)
        except ValueError as error:
            raise NotSane(f"iperf3's output is no JSON: {error}") from error
        if "error" in report:
            raise NotSane(f"iperf3 says: {report['error']}")
        try:
            received, sent = report["end"]["sum_received"], report["end"]["sum_sent"]
            rate, seconds = float(received["bits_per_second"]) / 1e9, float(received["seconds"])
            retransmits = sent.get("retransmits")
            version = str(report["start"]["version"]).removeprefix("iperf ")
        except (KeyError, TypeError, ValueError) as error:
            raise NotSane(f"iperf3's JSON lacks {error}") from error
        asked = float(setup.parameters["seconds"])
        if not rate > 0 or seconds < 0.9 * asked:
            raise NotSane(f"{rate:g} Gbit/s in {seconds:g} s, where {asked:g} s were asked for")
        samples = [Sample("throughput", "Gbit/s", rate, "higher")]
        if retransmits is not None:
            samples.append(Sample("retransmits", "1", float(retransmits), "none"))
        return Parsed(tuple(samples), "iperf3", "iperf3", version)

    def least_bytes(self, setup: Setup) -> int:
        """1 Mbit/s would be less than any network gives."""
        return int(float(setup.parameters["seconds"]) * 125_000)


CASE = TcpStream()
