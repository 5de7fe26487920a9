"""The control plane with a thousand nodes: `scale.py --kwok 1000` calls this; needs a user who may bring up a cluster.

One real node carries the control plane, kwok (a component of the bundle) plays the kubelets of the others: real Node
objects and leases. Latencies are what a user sees, TLS and the published port included.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from usernetes_deploy import bundle as bundles
from usernetes_deploy.api import Api
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import cache_root, roots

CLUSTER = "scale-kwok"
STAGES = Path(__file__).with_name("kwok_stages.yaml")
SAMPLE_SECONDS = 30.0
STATUS_SECONDS = 1.0
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def measure(count: int, bundle: str | None) -> dict[str, Any]:
    """Bring it up, add `count` nodes, look at it, take it down."""
    found = bundles.locate(Path(bundle) if bundle else None, cache_root())
    if not (found.root / "bin" / "kwok").exists():
        sys.exit("the bundle has no kwok: usernetes bundle build --with kwok")
    usernetes = [sys.executable, "-m", "usernetes_deploy.cli"]
    up = [*usernetes, "up", "--cluster", CLUSTER, "--nodes", "1", "--durability", "memory", "--quiet", "--no-wait"]
    subprocess.run([*up, "--bundle", str(found.root)], check=True, stdout=subprocess.DEVNULL)
    state = ClusterState(roots(), CLUSTER)
    try:
        api = state.api()
        empty = memory()
        with kwok(found.root / "bin" / "kwok", state.kubeconfig):
            began = time.monotonic()
            with ThreadPoolExecutor(8) as pool:
                apis = [state.api() for _ in range(8)]
                list(pool.map(lambda index: make_node(apis[index % 8], index), range(count)))
                for one in apis:
                    one.close()
            wait_ready(api, count + 1)
            joined = time.monotonic() - began
            latencies = sample(api, count)
            busy = resource.getrusage(resource.RUSAGE_CHILDREN)
            times = [status_seconds(usernetes) for _ in range(5)]
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            full = memory()
        api.close()
        return {
            "nodes": count,
            "joinSeconds": round(joined, 1),
            "apiMs": {what: percentiles(values) for what, values in latencies.items()},
            "memoryMB": {name: [empty.get(name, 0), full.get(name, 0)] for name in COMPONENTS},
            "statusSeconds": round(statistics.median(times), 2),
            "statusCpuSeconds": round((after.ru_utime + after.ru_stime - busy.ru_utime - busy.ru_stime) / 5, 2),
            "load": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
        }
    finally:
        subprocess.run([*usernetes, "down", "--cluster", CLUSTER, "--quiet"], check=False)


@contextlib.contextmanager
def kwok(program: Path, kubeconfig: Path) -> Iterator[None]:
    """kwok for the nodes that are marked as its own."""
    log = kubeconfig.with_name("kwok.log")
    argv = [str(program), f"--kubeconfig={kubeconfig}", f"--config={STAGES}", "--manage-all-nodes=false",
            "--node-lease-duration-seconds=40",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--cidr=10.245.0.0/16"]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process:
        try:
            time.sleep(1)
            if process.poll() is not None:
                raise SystemExit(f"kwok ended: {log.read_text()[-500:]}")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


def make_node(api: Api, index: int) -> None:
    """A node of kwok's."""
    name = f"kwok-{index}"
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
                "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
            },
            "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        }
    )


def wait_ready(api: Api, count: int, seconds: float = 180.0) -> None:
    """Until all are Ready; exits with what is missing."""
    ends = time.monotonic() + seconds
    while True:
        items = api.get("/api/v1/nodes")["items"]
        ready = sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for item in items
            for condition in item["status"].get("conditions", ())
        )
        if ready >= count:
            return
        if time.monotonic() > ends:
            raise SystemExit(f"{ready} of {count} nodes are Ready after {seconds:g} s")
        time.sleep(1)


def sample(api: Api, count: int) -> dict[str, list[float]]:
    """Latencies in ms of one node's object, of a write to it, and of the list of all nodes."""
    found: dict[str, list[float]] = {"get a node": [], "change a node": [], "list all nodes": []}

    def timed(what: str, path: str, body: Any = None) -> None:
        began = time.monotonic()
        api.request("PATCH" if body else "GET", path, body, "application/merge-patch+json")
        found[what].append((time.monotonic() - began) * 1000)

    ends = time.monotonic() + SAMPLE_SECONDS
    turn = 0
    while time.monotonic() < ends:
        path = f"/api/v1/nodes/kwok-{turn * 7919 % count}"
        timed("get a node", path)
        timed("change a node", path, {"metadata": {"labels": {"turn": str(turn)}}})
        if turn % 20 == 0:
            timed("list all nodes", "/api/v1/nodes")
        turn += 1
        time.sleep(0.05)
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    """Median and 99th percentile of at least two values, in ms."""
    return {
        "p50": round(statistics.median(values), 2),
        "p99": round(statistics.quantiles(values, n=100)[98], 2),
        "samples": len(values),
    }


def status_seconds(usernetes: list[str]) -> float:
    """How long `usernetes status` takes, the start of Python included."""
    began = time.monotonic()
    argv = [*usernetes, "status", "--cluster", CLUSTER, "--json"]
    answer = subprocess.run(argv, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if json.loads(answer.stdout)["cluster"] != CLUSTER:
        raise SystemExit(f"not the status asked for: {answer.stdout[:200]}")
    return seconds


def memory() -> dict[str, float]:
    """Resident memory in MB of this user's control-plane processes, by name."""
    found: dict[str, float] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if process.stat().st_uid != os.getuid():
                continue
            name = Path((process / "cmdline").read_bytes().split(b"\0")[0].decode()).name
            if name in COMPONENTS:
                line = next(row for row in (process / "status").read_text().splitlines() if row.startswith("VmRSS"))
                found[name] = round(int(line.split()[1]) / 1024, 1)
        except (OSError, StopIteration):
            continue
    return found


def show(result: dict[str, Any]) -> list[str]:
    """Print it; returns what is not as promised."""
    print(f"\ncontrol plane with {result['nodes']} kwok nodes, joined in {result['joinSeconds']} s")
    for what, values in result["apiMs"].items():
        print(f"  {what:<16} p50 {values['p50']:8.2f} ms   p99 {values['p99']:8.2f} ms   ({values['samples']} samples)")
    for name, (before, after) in result["memoryMB"].items():
        print(f"  {name:<24} {before:7.1f} MB with 1 node {after:7.1f} MB with {result['nodes']}")
    print(f"  usernetes status         {result['statusSeconds']:7.2f} s, of it {result['statusCpuSeconds']} s of CPU")
    print(f"  the machine's load was {result['load']} a core")
    if result["statusSeconds"] > STATUS_SECONDS:
        return [f"status took {result['statusSeconds']} s, promised is {STATUS_SECONDS:g}"]
    return []
