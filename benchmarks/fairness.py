"""What a grant in a loop costs another user of the API: the other's answer times, without and with the storm.

Brings up a cluster of one node on this host with two grants. One asks for pods, `--rate` times a second, over as many
connections as that needs (the storm); the other does the same ten times a second, and its answers are timed. The two
states take turns, so that both see the same machine::

    python benchmarks/fairness.py [--rounds 5] [--seconds 10] [--rate 500]

Nothing but the API's own fair queueing keeps the two apart. Storm, clock and API share the CPUs of this host, so that
part of what is lost is the storm's own cost. It cleans up after itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import ssl
import statistics
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from urllib.parse import urlsplit

from verbs import usernetes

NAME = "fairness"
CONNECTIONS = 25
ASKED_A_SECOND = 10.0


@dataclass
class Client:
    """One connection that asks for the pods of a namespace with a grant's token."""

    kubeconfig: Path
    statuses: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read what is needed of the kubeconfig."""
        document = json.loads(self.kubeconfig.read_text())
        self._server = urlsplit(document["clusters"][0]["cluster"]["server"])
        self._token = document["users"][0]["user"]["token"]
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE  # a clock, not a client
        self._connection: http.client.HTTPSConnection | None = None

    def ask(self) -> float:
        """Seconds that one answer took."""
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                str(self._server.hostname), self._server.port, timeout=60, context=self._context
            )
        began = time.perf_counter()
        self._connection.request(
            "GET", "/api/v1/namespaces/default/pods", headers={"Authorization": f"Bearer {self._token}"}
        )
        answer = self._connection.getresponse()
        answer.read()
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        return time.perf_counter() - began


def paced(client: Client, rate: float, ends: float, times: list[float]) -> None:
    """Ask `rate` times a second until `ends` (monotonic); a slow answer is not made up for."""
    while (now := time.monotonic()) < ends:
        times.append(client.ask())
        time.sleep(max(0.0, now + 1 / rate - time.monotonic()))


def storm(kubeconfig: Path, rate: float, ends: float, made: Synchronized[int]) -> None:
    """Ask `rate` times a second until `ends` (monotonic), in a process of its own: its load is not the clock's."""
    clients = [Client(kubeconfig) for _ in range(CONNECTIONS)]
    threads = [threading.Thread(target=paced, args=(one, rate / CONNECTIONS, ends, [])) for one in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.value = sum(sum(one.statuses.values()) for one in clients)


def measured(quiet: Path, stormy: Path | None, seconds: float, rate: float) -> tuple[list[float], float]:
    """The answer times of `quiet` in seconds, and the requests a second that the storm made."""
    ends = time.monotonic() + seconds
    made: Synchronized[int] = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=storm, args=(stormy, rate, ends, made)) if stormy else None
    if process:
        process.start()
    times: list[float] = []
    paced(Client(quiet), ASKED_A_SECOND, ends, times)
    if process:
        process.join()
    return times, made.value / seconds


def percentile(times: list[float], part: float) -> float:
    """The value below which `part` of `times` are, in ms."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=500)
    options = parser.parse_args()
    usernetes("up", "--cluster", NAME)
    try:
        words = ("--cluster", NAME)
        quiet, stormy = (Path(usernetes("grant", *words, name)) for name in ("quiet", "stormy"))
        alone: list[float] = []
        beside: list[float] = []
        rates = []
        for _ in range(options.rounds):
            alone += measured(quiet, None, options.seconds, options.rate)[0]
            times, rate = measured(quiet, stormy, options.seconds, options.rate)
            beside += times
            rates.append(rate)
        print(f"the storm: {statistics.median(rates):.0f} requests/s of {options.rate:g} that it tried")
        print("answer time, ms   alone  beside the storm  ratio")
        for title, part in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
            one, two = percentile(alone, part), percentile(beside, part)
            print(f"{title:16} {one:6.1f}  {two:16.1f}  {two / one:5.1f}")
        print(f"{len(alone)} and {len(beside)} answers; goal: p99 ratio <= 2")
    finally:
        usernetes("down", "--cluster", NAME)


if __name__ == "__main__":
    main()
