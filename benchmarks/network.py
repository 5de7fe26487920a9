#!/usr/bin/env python3
"""How fast each network is, as ratios: bare metal, native pods, mesh pods, their Services, and flannel as the baseline.

::

    benchmarks/network.py --hosts 'node[0-2]' [--bundle FOLDER] [--seconds 5] [--repeats 3] > network.json

Run it as the user whose clusters they are. It brings up two clusters, one after the other (mesh, then flannel), on at
least three hosts: the first carries the control plane, the next two are measured. Each repeat measures every place
once, in another order, so that a slow minute of the machine hits all of them; ratios are medians over the repeats of
each to bare metal in the same repeat and cluster, with a bootstrap interval (95 %, `netbench.judge.stats`). With
``--backends mesh --places bare,native`` there is time for many repeats. Throughput is iperf3's at the receiver, latency
the median round trip of one byte, a connection is made, asked once and closed, and CPU is the time that the whole
client host was busy, in seconds a GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netbench.judge.stats import ratio_intervals
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import node_program, roots

CLI = [sys.executable, "-m", "usernetes_deploy.cli"]
PORT = 5301
Run = Callable[[Sequence[str], float], str]

# Client and server are held to the first and the last CPU, in every place alike: left alone they sometimes share one,
# which halves a latency and says nothing of the network.
SERVER = """
import os, socket
os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
s = socket.create_server(("", %d), backlog=512)
while True:
    c = s.accept()[0]
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while (got := c.recv(1)):
            if got == b"q": os._exit(0)
            c.send(b"x")
    except ConnectionResetError: pass
    c.close()
"""
CLIENT = """
import json, os, socket, statistics, struct, sys, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
at = (sys.argv[1], %d)
def connect():
    c = socket.create_connection(at); c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c
def ask(c):
    c.send(b"x"); c.recv(1)
found = {}
if sys.argv[2] == "latency":
    c, trips = connect(), []
    for _ in range(5000):
        began = time.perf_counter(); ask(c); trips.append(time.perf_counter() - began)
    c.close()
    found["latency_us"] = statistics.median(trips) * 1e6
else:
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + 2:
        c = connect(); ask(c)
        # Ended by a reset: thousands of ports in TIME_WAIT would make the next place's search for a free one long.
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close(); count += 1
    found["connections_per_s"] = count / (time.perf_counter() - began)
connect().send(b"q")
print(json.dumps(found))
"""
# Counted where the client runs: what it takes to start a process in a pod is not the network's.
STREAM = """
import json, os, subprocess, sys
def busy():
    fields = [int(word) for word in open("/proc/stat").readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / 100
cpus = os.sched_getaffinity(0)
before = busy()
done = subprocess.run([*sys.argv[1:], "-A", f"{min(cpus)},{max(cpus)}"], capture_output=True, text=True)
print(json.dumps({"busy_s": busy() - before, "iperf3": json.loads(done.stdout)}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", required=True, help="at least three, as usernetes up --hosts takes them")
    parser.add_argument("--bundle", help="folder of the bundle")
    parser.add_argument("--seconds", type=int, default=5, help="of each iperf3 run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--services", type=int, default=200, help="how many Services kube-proxy is asked to carry")
    parser.add_argument("--backends", default="mesh,flannel")
    parser.add_argument("--places", default="bare,native,mesh,service,flannel", help="which of them")
    options = parser.parse_args()
    if not shutil.which("iperf3"):
        sys.exit("iperf3 is not installed on this host")
    results: dict[str, Any] = {}
    for backend in options.backends.split(","):
        results[backend] = measure_cluster(backend, options)
    print(json.dumps({"schema": 2, "results": results, "ratios": ratios(results)}, indent=1))
    show(results)


def measure_cluster(backend: str, options: argparse.Namespace) -> dict[str, Any]:
    """Bring a cluster up, measure each of its places `repeats` times, take it down."""
    name = f"bench-{backend}"
    flags = ["--bundle", options.bundle] if options.bundle else []
    call([*CLI, "up", "--cluster", name, "--hosts", options.hosts, "--set", f"network.backend={backend}", *flags])
    state = ClusterState(roots(), name)
    document = state.read()
    launcher = launcher_from_state(document["launcher"], node_program())
    try:
        client, server = members_of(document).present()[1:3]

        def bare(member: Any) -> Run:
            return lambda argv, timeout: launcher.run(member.host, argv, timeout=timeout).check(member.host.name).stdout

        def pod(pod_name: str) -> Run:
            return lambda argv, timeout: kubectl(state, "exec", pod_name, "--", *argv, timeout=timeout)

        busybox = busybox_of(name)
        places = {"bare": (bare(client), bare(server), client.at.address, server.at.address)}
        kinds = {"native": True, backend: False} if backend == "mesh" else {backend: False}
        for kind, native in kinds.items():
            for role, member in (("client", client), ("server", server)):
                apply(state, pod_manifest(f"{kind}-{role}", member.host.name, busybox, native=native))
        if backend == "mesh":
            apply(state, service_manifest("mesh-server"))
        for kind, native in kinds.items():
            kubectl(state, "wait", "--for=condition=Ready", f"pod/{kind}-client", f"pod/{kind}-server", "--timeout=60s")
            address = server.at.address if native else pod_ip(state, f"{kind}-server")
            places[kind] = (pod(f"{kind}-client"), pod(f"{kind}-server"), "", address)
        if backend == "mesh":
            address = kubectl(state, "get", "service", "mesh-server", "-o", "jsonpath={.spec.clusterIP}")
            places["service"] = (pod("mesh-client"), pod("mesh-server"), "", address)
        places = {place: found for place, found in places.items() if place in options.places.split(",")}
        samples: dict[str, list[dict[str, float]]] = {place: [] for place in places}
        order = random.Random(1)  # noqa: S311  to be the same each time
        for number in range(options.repeats):
            for place in order.sample(list(places), len(places)):
                at_client, at_server, _, address = places[place]
                print(f"{backend}: {place} {number + 1}/{options.repeats}", file=sys.stderr, flush=True)
                found = streams(at_client, at_server, address, options.seconds)
                found |= talk("latency", at_client, at_server, address)
                samples[place].append(found)
        # At the end: each connection leaves slirp4netns a UDP session to search through for minutes, which would be
        # held against flannel in all that is measured after it.
        for number in range(options.repeats):
            for place in order.sample(list(places), len(places)):
                at_client, at_server, _, address = places[place]
                samples[place][number] |= talk("connections", at_client, at_server, address)
        medians = {place: median_of(values) for place, values in samples.items()}
        proxy = many_services(state, bare(client), options) if backend == "mesh" else {}
        return {"mtu": client.at.mtu, "samples": samples, "medians": medians, "kubeProxy": proxy}
    finally:
        launcher.close()
        call([*CLI, "down", "--cluster", name])


def many_services(state: ClusterState, at: Run, options: argparse.Namespace) -> dict[str, float]:
    """What `--services` Services with ten endpoints each cost kube-proxy, on one node.

    `sync_s` is its mean time for a change of one Service, `idle_cpu_percent` of one core over 20 s without a change.
    """
    api = state.api()
    for number in range(options.services):
        name = f"many-{number}"
        metadata = {"name": name, "labels": {"kubernetes.io/service-name": name}}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
        addresses = [f"10.244.{250 + number % 5}.{1 + (number * 10 + item) % 250}" for item in range(10)]
        api.apply(service)
        api.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
                "ports": [{"port": 80, "protocol": "TCP"}],
            }
        )
    time.sleep(10)
    before = proxy_syncs(state)
    for number in range(20):
        api.apply(service_manifest(f"change-{number}"))
        time.sleep(0.3)
    time.sleep(3)
    after = proxy_syncs(state)
    api.close()
    pid = at(["pgrep", "-u", str(os.getuid()), "-x", "kube-proxy"], 20).split()[0]
    idle = [process_seconds(at, pid)]
    time.sleep(20)
    idle.append(process_seconds(at, pid))
    return {
        "services": options.services,
        "endpoints": options.services * 10,
        "sync_s": (after[0] - before[0]) / max(1.0, after[1] - before[1]),
        "syncs": after[1] - before[1],
        "idle_cpu_percent": (idle[1] - idle[0]) / 20 * 100,
    }


def proxy_syncs(state: ClusterState) -> tuple[float, float]:
    """Seconds that kube-proxy of the first node has spent in syncs since it began, and how many they were."""
    text = call([*CLI, "run", "--cluster", state.name, "--", "curl", "-sS", "http://127.0.0.1:10249/metrics"])
    values = dict.fromkeys(("sum", "count"), 0.0)
    for line in text.splitlines():
        for part in values:
            if line.startswith(f"kubeproxy_sync_proxy_rules_duration_seconds_{part}"):
                values[part] += float(line.split()[-1])
    return values["sum"], values["count"]


def process_seconds(at: Run, pid: str) -> float:
    """CPU time of a process in seconds."""
    fields = at(["cat", f"/proc/{pid}/stat"], 20).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def streams(at_client: Run, at_server: Run, address: str, seconds: int) -> dict[str, float]:
    """Throughput of one place in Gbit/s, and CPU seconds for each GB."""
    found: dict[str, float] = {}
    for streams in (1, 4):
        for direction, flag in (("out", []), ("in", ["-R"])):
            # -1: the server ends with its one client, so nothing is left to be killed.
            at_server(["sh", "-c", f"iperf3 -s -1 -D -p {PORT + 1} >/dev/null 2>&1"], 20)
            time.sleep(0.3)
            iperf3 = f"iperf3 -J -c {address} -p {PORT + 1} -t {seconds} -P {streams}"
            argv = ["python3", "-c", STREAM, *iperf3.split(), *flag]
            answer = json.loads(at_client(argv, seconds + 30))
            received = answer["iperf3"]["end"].get("sum_received", {"bytes": 0})
            if not received["bytes"]:
                raise RuntimeError(
                    f"nothing was received from {address}: {answer['iperf3'].get('error', 'no error said')}"
                )
            found[f"gbit_s_{streams}_{direction}"] = received["bits_per_second"] / 1e9
            found[f"cpu_s_per_gb_{streams}_{direction}"] = answer["busy_s"] / (received["bytes"] / 1e9)
    return found


def talk(what: str, at_client: Run, at_server: Run, address: str) -> dict[str, float]:
    """`what` of one place: "latency" in us, or "connections" a second."""
    at_server(["sh", "-c", f"setsid python3 -c '{SERVER % PORT}' >/dev/null 2>&1 </dev/null &"], 20)
    time.sleep(0.5)
    found: dict[str, float] = json.loads(at_client(["python3", "-c", CLIENT % PORT, address, what], 60))
    return found


def median_of(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of every figure."""
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def ratios(results: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """To bare metal in the same repeat, Services to pods alike, mesh to flannel: each the ratio and its interval."""
    found = {}
    for result in results.values():
        samples = result["samples"]
        pairs = [(place, "bare") for place in samples if place != "bare"] if "bare" in samples else []
        pairs += [("service", "mesh")] if {"service", "mesh"} <= samples.keys() else []
        for one, other in pairs:
            found[f"{one} / {other}"] = compare(samples[one], samples[other], paired=True)
    pods = {backend: result["samples"].get(backend) for backend, result in results.items()}
    if pods.get("mesh") and pods.get("flannel"):  # two clusters, one after the other
        found["mesh / flannel"] = compare(pods["mesh"], pods["flannel"], paired=False)
    return found


def compare(
    one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]], *, paired: bool
) -> dict[str, list[float]]:
    """Figure -> [ratio, low, high] of one to the other."""
    found = {}
    for name in one[0]:
        columns = [np.array([[sample[name]] for sample in samples]) for samples in (other, one)]
        [interval] = ratio_intervals(*columns, paired=paired, seed=1)
        found[name] = [round(value, 4) for value in (interval.ratio, interval.low, interval.high)]
    return found


def show(results: Mapping[str, Any]) -> None:
    """A table for people, on stderr."""
    for backend, result in results.items():
        print(f"\n{backend} cluster, interface MTU {result['mtu']} (medians)", file=sys.stderr)
        names = list(next(iter(result["medians"].values())))
        print("  ".join(["place   ", *names]), file=sys.stderr)
        for place, values in result["medians"].items():
            cells = [f"{values[name]:.4g}".rjust(len(name)) for name in names]
            print("  ".join([place.ljust(8), *cells]), file=sys.stderr)
        if result["kubeProxy"]:
            print(f"kube-proxy: {result['kubeProxy']}", file=sys.stderr)
    for pair, values in ratios(results).items():
        cells = [f"{name} {ratio:.3g} [{low:.3g}, {high:.3g}]" for name, (ratio, low, high) in values.items()]
        print(f"{pair}: " + ", ".join(cells), file=sys.stderr)


def busybox_of(cluster: str) -> str:
    """The name of the small image that every node has."""
    images = call([*CLI, "images", "list", "--cluster", cluster])
    return next(word for word in images.split() if "/busybox:" in word)


def pod_manifest(name: str, node: str, image: str, *, native: bool) -> dict[str, Any]:
    """A pod that runs the host's own programs, so that the bytes measured are the same in every place."""
    folders = {"usr": "/usr", "lib": "/lib", "lib64": "/lib64"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": name}},
        "spec": {
            "nodeName": node,
            **({"runtimeClassName": "native", "hostNetwork": True} if native else {}),
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "bench",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "command": ["/bin/busybox", "sleep", "86400"],
                    "env": [{"name": "PATH", "value": "/usr/bin:/bin"}],
                    "volumeMounts": [
                        {"name": key, "mountPath": path, "readOnly": True} for key, path in folders.items()
                    ],
                }
            ],
            "volumes": [{"name": key, "hostPath": {"path": path}} for key, path in folders.items()],
        },
    }


def service_manifest(pod: str) -> dict[str, Any]:
    """A Service in front of one pod."""
    ports = [{"name": f"p{number}", "port": number} for number in (PORT, PORT + 1)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": pod},
        "spec": {"selector": {"bench": pod}, "ports": ports},
    }


def apply(state: ClusterState, manifest: Mapping[str, Any]) -> None:
    """Create an object in the namespace default."""
    api = state.api()
    api.apply(manifest)
    api.close()


def pod_ip(state: ClusterState, pod: str) -> str:
    """The pod's address."""
    return kubectl(state, "get", "pod", pod, "-o", "jsonpath={.status.podIP}")


def kubectl(state: ClusterState, *words: str, timeout: float = 90) -> str:
    """What kubectl prints."""
    return call([*CLI, "kubectl", "--cluster", state.name, *words], timeout)


def call(argv: Sequence[str], timeout: float = 400) -> str:
    """Run a command; what it printed on stdout. Raises with its stderr when it fails."""
    done = subprocess.run(argv, text=True, capture_output=True, check=False, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:8])}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    if not Path("/proc/stat").exists():
        sys.exit("Linux only")
    main()
