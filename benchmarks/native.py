#!/usr/bin/env python3
"""Whether native pods lose anything to bare metal, in an answer finer than the machine's noise.

::

    benchmarks/native.py --hosts 'node[0-2]' [--bundle FOLDER] [--rounds 24] [--control] > native.json

Run it as the user whose cluster it is. Runs of seconds that take turns, as in ``network.py``, leave 5 to 10 % of
noise on a small machine: it changes faster than they do. Here two clients on one host, one of them in a pod, take
turns with bursts of 10 to 50 ms, each with its own server of its kind on the other host, so that a slow moment hits
both. A round has new processes and new connections and gives the ratio of the medians of its bursts; the interval
(95 %, bootstrap, `netbench.stats`) is over the rounds. What is measured: bytes a second with one and four connections
in both directions, the round trip of one byte, and connections (made, asked once, closed) a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from network import CLI, apply, busybox_of, call, kubectl, pod_manifest

from netbench.stats import ratio_intervals
from usernetes_deploy.commands.common import node_program, roots
from usernetes_deploy.launch.base import Host
from usernetes_deploy.launchers import launcher_from_state
from usernetes_deploy.nodes import members_of
from usernetes_deploy.state import ClusterState

PORTS = {"bare": 5311, "native": 5312}
MEET = 5313
FIGURES = ("out_1", "in_1", "out_4", "in_4", "latency", "connections")

# One connection, one request at a time: "p" is echoed, "r" N receives and "s" N sends N bytes.
SERVER = """
import os, socket, struct, sys, threading
os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(1 << 18))
    try:
        while (what := c.recv(1)):
            if what == b"p": c.send(b"x"); continue
            if what == b"q": os._exit(0)
            left = struct.unpack("!Q", c.recv(8, socket.MSG_WAITALL))[0]
            while left:
                left -= c.recv_into(buffer, min(left, len(buffer))) if what == b"r" else c.send(buffer[:left])
            if what == b"r": c.send(b"k")
    except OSError: pass
    c.close()
threading.Timer(300, os._exit, (1,)).start()  # should the client never say "q"
s = socket.create_server(("", int(sys.argv[1])), backlog=512)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""

# The client on bare metal leads: it tells the one in the pod what to do, over the loopback that native pods share.
CLIENT = """
import json, os, random, socket, statistics, struct, sys, threading, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
role, address = sys.argv[1:3]
port, meet, bursts = map(int, sys.argv[3:6])
figures = sys.argv[6:]
BYTES, TRIPS, CALLS = 64 << 20, 1000, 60
def connect():
    c = socket.create_connection((address, port)); c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c
def ask(c):
    c.send(b"p"); c.recv(1)
def move(c, what, count):
    c.sendall(what + struct.pack("!Q", count))
    left = count
    while left: left -= c.send(buffer[:left]) if what == b"r" else c.recv_into(buffer, min(left, len(buffer)))
    if what == b"r": c.recv(1)
buffer = memoryview(bytearray(1 << 18))
lines = [connect() for _ in range(4)]
def burst(figure):
    if figure == "latency":
        trips = []
        for _ in range(TRIPS):
            began = time.perf_counter(); ask(lines[0]); trips.append(time.perf_counter() - began)
        return statistics.median(trips) * 1e6
    began = time.perf_counter()
    if figure == "connections":
        for _ in range(CALLS):
            c = connect(); ask(c)
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close()
        return CALLS / (time.perf_counter() - began)
    direction, count = figure.split("_")
    movers = [threading.Thread(target=move, args=(c, b"r" if direction == "out" else b"s", BYTES // int(count)))
              for c in lines[: int(count)]]
    for mover in movers: mover.start()
    for mover in movers: mover.join()
    return BYTES * 8e-9 / (time.perf_counter() - began)
if role == "native":
    other = socket.create_connection(("127.0.0.1", meet))
    with other.makefile("rw") as line:
        for figure in line: print(burst(figure.strip()), file=line, flush=True)
else:
    with socket.create_server(("127.0.0.1", meet)) as s:
        s.settimeout(60)
        other = s.accept()[0]
    line = other.makefile("rw")
    def told(figure):
        print(figure, file=line, flush=True)
        return float(line.readline())
    places = {"bare": burst, "native": told}
    found = {figure: {place: [] for place in places} for figure in figures}
    for figure in figures:
        for measure in places.values(): measure(figure)  # to warm up
        for number in range(bursts):
            for place in random.sample(list(places), 2): found[figure][place].append(places[place](figure))
    print(json.dumps(found))
    line.close(); other.close()
connect().send(b"q")
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", required=True, help="at least three, as usernetes up --hosts takes them")
    parser.add_argument("--bundle", help="folder of the bundle")
    parser.add_argument("--rounds", type=int, default=24, help="at least 6")
    parser.add_argument("--bursts", type=int, default=20, help="of each figure at each place in a round")
    parser.add_argument("--figures", default=",".join(FIGURES), help="which of them")
    parser.add_argument("--control", action="store_true", help="no pods: both clients are on bare metal, expect 1")
    options = parser.parse_args()
    figures = options.figures.split(",")
    name = "bench-native"
    flags = ["--bundle", options.bundle] if options.bundle else []
    call([*CLI, "up", "--cluster", name, "--hosts", options.hosts, *flags])
    state = ClusterState(roots(), name)
    document = state.read()
    launcher = launcher_from_state(document["launcher"], node_program())
    try:
        client, server = members_of(document)[1:3]

        def bare(host: Host, argv: Sequence[str]) -> str:
            return launcher.run(host, argv, timeout=300).check(host.name).stdout

        def second(role: str, host: Host, argv: Sequence[str]) -> str:
            return bare(host, argv) if options.control else kubectl(state, "exec", role, "--", *argv, timeout=300)

        busybox = busybox_of(name)
        for role, member in (("client", client), ("server", server)):
            apply(state, pod_manifest(role, member.host.name, busybox, native=True))
        kubectl(state, "wait", "--for=condition=Ready", "pod/client", "pod/server", "--timeout=60s")
        serve = {
            place: ["sh", "-c", f"setsid python3 -c '{SERVER}' {port} >/dev/null 2>&1 </dev/null & sleep 0.5"]
            for place, port in PORTS.items()
        }
        rest = [str(MEET), str(options.bursts), *figures]
        argv = {
            place: ["python3", "-c", CLIENT, place, server.record["address"], str(port), *rest]
            for place, port in PORTS.items()
        }
        # It tries once to reach the other, which has to be there by then.
        late = ["sh", "-c", 'sleep 1; exec "$@"', "sh", *argv["native"]]
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1}/{options.rounds}", file=sys.stderr, flush=True)
            bare(server.host, serve["bare"])
            second("server", server.host, serve["native"])
            with ThreadPoolExecutor() as pool:
                answer = pool.submit(bare, client.host, argv["bare"])
                pool.submit(second, "client", client.host, late).result()
            rounds.append(json.loads(answer.result()))
    finally:
        launcher.close()
        call([*CLI, "down", "--cluster", name])
    results = {figure: judge(figure, rounds) for figure in figures}
    print(json.dumps({"schema": 1, "results": results, "rounds": rounds}, indent=1))
    for figure, (median, ratio, low, high) in results.items():
        print(f"{figure}: bare metal {median:.4g}, native / bare {ratio:.3f} [{low:.3f}, {high:.3f}]", file=sys.stderr)


def judge(figure: str, rounds: Sequence[Mapping[str, Any]]) -> tuple[float, float, float, float]:
    """Median on bare metal (Gbit/s, us or connections a second), and native / bare metal with its interval."""
    medians = {
        place: np.array([[statistics.median(found[figure][place])] for found in rounds]) for place in ("bare", "native")
    }
    [interval] = ratio_intervals(medians["bare"], medians["native"], paired=True, seed=1)
    return float(np.median(medians["bare"])), interval.ratio, interval.low, interval.high


if __name__ == "__main__":
    main()
