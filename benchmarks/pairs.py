#!/usr/bin/env python3
"""Whether one of two ways loses anything to the other, in an answer finer than the machine's noise.

::

    benchmarks/pairs.py native/bare --hosts 'node[0-2]' [--bundle FOLDER] [--rounds 24] > native.json

Pairs: ``native/bare``, a native pod against bare metal; ``service/mesh``, a Service by its cluster IP against the
address of its pod; ``bare/bare``, a control of the method, expect 1. Run it as the user whose cluster it is.

Runs of seconds that take turns, as in ``network.py``, leave 5 to 10 % of noise on a small machine: it changes faster
than they do. Here two clients on one host take turns with bursts of 10 to 100 ms, each with its own server of its kind
on the other host, so that a slow moment hits both. They lead in turns, should that make a difference. A round has new
processes and new connections and gives the ratio of the medians of its bursts; the interval (95 %, bootstrap,
`netbench.judge`) is over the rounds. What is measured: bytes a second with one and four connections in both directions,
the round trip of one byte, and connections (made, asked once, closed) a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from network import CLI, PORT, apply, busybox_of, call, kubectl, pod_ip, pod_manifest, service_manifest

from netbench.judge.stats import ratio_intervals
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import node_program, roots

PORTS = {"base": PORT, "other": PORT + 1}
MEET = PORT + 2
# What is compared with what, and how much a burst moves: 30 to 100 ms on a small machine.
PAIRS = {"native/bare": 64 << 20, "service/mesh": 16 << 20, "bare/bare": 64 << 20}
Run = Callable[[str, Sequence[str]], str]  # at "client" or "server"
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

# One client leads: it tells the other what to do, over the loopback that the two share.
CLIENT = """
import json, os, random, socket, statistics, struct, sys, threading, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
role, address = sys.argv[1:3]
port, meet, bursts, BYTES = map(int, sys.argv[3:7])
figures = sys.argv[7:]
TRIPS, CALLS = 1000, 60
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
if role == "led":
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
    places = {"lead": burst, "led": told}
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
    parser.add_argument("pair", choices=PAIRS)
    parser.add_argument("--hosts", required=True, help="at least three, as usernetes up --hosts takes them")
    parser.add_argument("--bundle", help="folder of the bundle")
    parser.add_argument("--rounds", type=int, default=24, help="at least 6")
    parser.add_argument("--bursts", type=int, default=20, help="of each figure at each place in a round")
    parser.add_argument("--figures", default=",".join(FIGURES), help="which of them")
    options = parser.parse_args()
    figures = options.figures.split(",")
    if unknown := [figure for figure in figures if figure not in FIGURES]:
        parser.error(f"--figures: {', '.join(unknown)}: expected some of {', '.join(FIGURES)}")
    name = "bench-pairs"
    flags = ["--bundle", options.bundle] if options.bundle else []
    call([*CLI, "up", "--cluster", name, "--hosts", options.hosts, *flags])
    state = ClusterState(roots(), name)
    document = state.read()
    launcher = launcher_from_state(document["launcher"], node_program())
    try:
        client, server = members_of(document).present()[1:3]

        def bare(role: str, argv: Sequence[str]) -> str:
            host = {"client": client, "server": server}[role].host
            return launcher.run(host, argv, timeout=300).check(host.name).stdout

        def pod(role: str, argv: Sequence[str]) -> str:
            return kubectl(state, "exec", role, "--", *argv, timeout=300)

        busybox = busybox_of(name)
        for role, member in (("client", client), ("server", server)):
            apply(state, pod_manifest(role, member.host.name, busybox, native=options.pair == "native/bare"))
        kubectl(state, "wait", "--for=condition=Ready", "pod/client", "pod/server", "--timeout=60s")
        at = {"base": server.at.address, "other": server.at.address}
        if options.pair == "service/mesh":
            apply(state, service_manifest("server"))
            cluster_ip = kubectl(state, "get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")
            at = {"base": pod_ip(state, "server"), "other": cluster_ip}
        ways = {"native/bare": (bare, pod), "service/mesh": (pod, pod), "bare/bare": (bare, bare)}
        argv = [str(number) for number in (MEET, options.bursts, PAIRS[options.pair])] + figures
        rounds = take_turns(*ways[options.pair], at, argv, options.rounds)
    finally:
        launcher.close()
        call([*CLI, "down", "--cluster", name])
    results = {figure: judge(figure, rounds) for figure in figures}
    print(json.dumps({"schema": 2, "pair": options.pair, "results": results, "rounds": rounds}, indent=1))
    one, two = options.pair.split("/")
    for figure, (median, ratio, low, high) in results.items():
        print(f"{figure}: {two} {median:.4g}, {one} / {two} {ratio:.3f} [{low:.3f}, {high:.3f}]", file=sys.stderr)


def take_turns(base: Run, other: Run, at: Mapping[str, str], rest: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """What each round found: figure -> "base" and "other" -> the bursts' figures."""
    serve = {
        place: ["sh", "-c", f"setsid python3 -c '{SERVER}' {port} >/dev/null 2>&1 </dev/null & sleep 0.5"]
        for place, port in PORTS.items()
    }
    runs = {"base": base, "other": other}
    found = []
    for number in range(rounds):
        print(f"round {number + 1}/{rounds}", file=sys.stderr, flush=True)
        for place, run in runs.items():
            run("server", serve[place])
        lead, led = ("base", "other") if number % 2 == 0 else ("other", "base")
        argv = {
            place: ["python3", "-c", CLIENT, role, at[place], str(PORTS[place]), *rest]
            for place, role in ((lead, "lead"), (led, "led"))
        }
        # It tries once to reach the one that leads, which has to be there by then.
        late = ["sh", "-c", 'sleep 1; exec "$@"', "sh", *argv[led]]
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(runs[lead], "client", argv[lead])
            pool.submit(runs[led], "client", late).result()
        bursts = json.loads(answer.result())
        found.append({figure: {lead: both["lead"], led: both["led"]} for figure, both in bursts.items()})
    return found


def judge(figure: str, rounds: Sequence[Mapping[str, Any]]) -> tuple[float, float, float, float]:
    """The baseline's median (Gbit/s, us or connections a second), and the ratio to it with its interval."""
    medians = {place: np.array([[statistics.median(found[figure][place])] for found in rounds]) for place in PORTS}
    [interval] = ratio_intervals(medians["base"], medians["other"], paired=True, seed=1)
    return float(np.median(medians["base"])), interval.ratio, interval.low, interval.high


if __name__ == "__main__":
    main()
