"""What one more node costs the driver: the whole of `up` and of stopping, against 10, 100 and 1,000 simulated hosts.

    python benchmarks/scale.py [--sizes 10,100,1000] [--kwok 1000] [--json FILE] [--bundle FOLDER]

Everything the driver does is real (probing, judging, keys and certificates, blobs, waiting); the hosts are those of
`launch.fake` with honest delays, and the API answers with Node objects of the real size. In each size but the smallest
one host is dead, one cannot hold its node and one never becomes Ready: they are named, and nobody waits for them
longer than the deadline. Each size runs in a process of its own, so that memory is its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ANSWER = ROOT / "tests" / "data" / "facts" / "debian-12-ready" / "answer.txt"
CPU_MS_PER_NODE = 10.0
MEMORY_MB_PER_NODE = 1.0
DEADLINE = 15.0  # seconds for any one step on all hosts
ROUND_TRIP = 0.15  # seconds that a short command takes over SSH, give or take half of it
BOOT = 3.0  # seconds from the start of a node to Ready


class SimulatedApi:
    """The API of simulated nodes and their probe pods: Ready `BOOT` seconds after the start, but for `never`."""

    server = "https://simulated"

    def __init__(self, fake: Any, nodes: Sequence[str], never: str) -> None:
        self._fake = fake
        self._nodes = nodes
        self._never = never
        self._since: dict[str, float] = {}
        self._pods: dict[str, Any] = {}  # by node

    def ready(self) -> bool:
        """The first node carries it."""
        return self._nodes[0] in self._ready()

    def get(self, path: str) -> Any:
        """Nodes and pods, parsed from JSON as they would come over the line."""
        ready = self._ready()
        if "/pods" in path:
            items = ",".join(_pod(pod, name in ready) for name, pod in self._pods.items())
        else:
            items = ",".join(_object(name, name in ready) for name in self._nodes)
        return json.loads(f'{{"items": [{items}]}}')

    def request(self, method: str, _path: str, body: Any = None) -> None:
        """Pods come and go."""
        if method == "POST":
            self._pods[body["spec"]["nodeName"]] = body

    def apply(self, manifest: Any) -> None:
        """Taken as done."""

    def delete(self, manifest: Any, grace: int | None = None) -> None:  # noqa: ARG002
        """Pods go; the rest is taken as done."""
        if manifest["kind"] == "Pod":
            self._pods = {
                node: pod for node, pod in self._pods.items() if pod["metadata"]["name"] != manifest["metadata"]["name"]
            }

    def close(self) -> None:
        """Nothing is open."""

    def _ready(self) -> set[str]:
        now = time.monotonic()
        for name in self._fake.running():
            self._since.setdefault(name, now)
        return {name for name, since in self._since.items() if now - since >= BOOT and name != self._never}


@functools.cache  # writing JSON is the server's work, reading it the driver's
def _object(name: str, ready: bool) -> str:
    return json.dumps(_node(name, ready))


def _node(name: str, ready: bool) -> dict[str, Any]:
    """A Node object of about the size the real one has (4 KB)."""
    beat = {"lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure")
    conditions = [{"type": kind, "status": "False", "reason": "KubeletHasNo" + kind, **beat} for kind in kinds]
    conditions.append({"type": "Ready", "status": "True" if ready else "False", "reason": "KubeletReady", **beat})
    fields: dict[str, Any] = {f"f:field-{index}": {"f:value": {}, "k:{}": {}} for index in range(60)}
    room = {"cpu": "128", "memory": "527953480Ki", "pods": "110"}
    return {
        "metadata": {
            "name": name,
            "labels": {f"usernetes.dev/label-{index}": name for index in range(8)},
            "managedFields": [{"manager": "kubelet", "fieldsV1": fields}],
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {"capacity": room, "allocatable": room, "conditions": conditions, "images": []},
    }


def _pod(pod: Any, ready: bool) -> str:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return json.dumps({**pod, "status": {"conditions": [condition]}})


def facts_of(host: Any, script: str) -> str:
    """What a prepared host answers to the preflight script: a recorded answer with its own name, address and ports."""
    ports = re.findall(r"\b(?:udp|tcp)/\d+\b", next(line for line in script.splitlines() if "need_ports=" in line))
    text = ANSWER.read_text(encoding="utf-8")
    text = text.replace("192.0.2.0/24", "172.16.0.0/12").replace("192.0.2.13/24", f"{host.address}/12")
    text = text.replace("192.0.2.13", host.address).replace("host=node03", f"host={host.name}")
    text = re.sub(r"epoch=\d+", f"epoch={int(time.time())}", text)
    token = text.split()[1]
    return text.replace(
        f"@usernetes {token} ports\n", f"@usernetes {token} ports\n" + "".join(f"{p}=free\n" for p in ports)
    )


def measure(size: int, bundle: str | None) -> dict[str, Any]:
    """One size, in this process: a whole `up` and the end of all nodes."""
    from usernetes_deploy import bundle as bundles
    from usernetes_deploy.changes.bringup import UP
    from usernetes_deploy.changes.context import BringUp
    from usernetes_deploy.changes.phase import Report, run
    from usernetes_deploy.cluster.nodes import stop_nodes
    from usernetes_deploy.cluster.spec import load
    from usernetes_deploy.cluster.state import ClusterState
    from usernetes_deploy.commands.common import cache_root
    from usernetes_deploy.launch.base import Completed
    from usernetes_deploy.launch.fake import Behaviour, FakeLauncher

    short = Behaviour(delay=ROUND_TRIP, jitter=0.5)
    bad = {} if size < 20 else {"dead": f"node{size // 2}", "full": f"node{size // 3}", "stuck": f"node{size // 4}"}
    behaviours = {}
    if bad:
        behaviours[bad["dead"]] = Behaviour(hanging=True)

    def start(host: Any, argv: Sequence[str], stdin: bytes) -> Completed:
        return Completed(argv, 0, facts_of(host, stdin.decode()), "")

    def status(_host: Any, argv: Sequence[str], _: bytes) -> Completed:
        node = {"problems": [], "components": [{"name": "kubelet", "state": "starting"}]}
        return Completed(argv, 0, json.dumps({"keeper": {"alive": True, "restarts": 0}, "node": node, "log": []}), "")

    class Fake(FakeLauncher):
        """One host has no room for its node."""

        def start(self, host: Any, argv: Sequence[str], *, stdin: bytes) -> Any:
            if host.name == bad.get("full"):
                raise OSError(28, "No space left on device")
            return super().start(host, argv, stdin=stdin)

    class Up(BringUp):
        """Asks the simulated API."""

        def api(self, timeout: float = 10) -> Any:  # noqa: ARG002
            return simulated

    fake = Fake(size, default=short, behaviours=behaviours, answers={"sh": start, "status": status})
    names = [host.name for host in fake.hosts()]
    simulated = SimulatedApi(fake, names, bad.get("stuck", ""))
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "progress").open("w") as progress:
        state = ClusterState(Path(directory), "scale")
        spec = load({
            "name": "scale", "nodes": size, "minNodes": size - len(bad), "launcher": "ssh", "hosts": ["simulated"],
            "waitSeconds": int(DEADLINE), "durability": "memory", "network": {"podCIDR": "10.128.0.0/10"},
        })  # fmt: skip
        found = bundles.locate(Path(bundle) if bundle else None, cache_root())
        report = Report(progress)
        before = resource.getrusage(resource.RUSAGE_SELF)
        threads = _ThreadCount()
        began = time.monotonic()
        up = Up(spec=spec, launcher=fake, state=state, found_bundle=found, report=report, wait=True)
        with threads:
            run(UP, up, report)
            wall = time.monotonic() - began
            middle = resource.getrusage(resource.RUSAGE_SELF)
            record = state.record()
            stop_began = time.monotonic()
            alive = [member for member in record.members.to_stop() if member.host.name != bad.get("dead")]
            stop_nodes(fake, record, alive).check("stop")
        after = resource.getrusage(resource.RUSAGE_SELF)
        fake.close()
        named = {kind: up.members.given_up().get(name, "NOT NAMED") for kind, name in bad.items()}
        return {
            "nodes": size,
            "ready": size - len(up.members.given_up()),
            "wallSeconds": round(wall, 2),
            "stopSeconds": round(time.monotonic() - stop_began, 2),
            "cpuMsPerNode": round(_cpu(before, middle) * 1000 / size, 2),
            "stopCpuMsPerNode": round(_cpu(middle, after) * 1000 / size, 2),
            "memoryMB": round((after.ru_maxrss - before.ru_maxrss) / 1024, 1),
            "memoryMBPerNode": round((after.ru_maxrss - before.ru_maxrss) / 1024 / size, 3),
            "mostThreads": threads.most,
            "blobKB": round(len(up.nodes[-1].to_json()) / 1024, 1),
            "stateKB": round((state.directory / "cluster.json").stat().st_size / 1024, 1),
            "phases": dict(report.seconds),
            "named": named,
            "stillRunning": [name for name in fake.running() if name not in bad.values()],
        }


def _cpu(before: resource.struct_rusage, after: resource.struct_rusage) -> float:
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class _ThreadCount(contextlib.AbstractContextManager["_ThreadCount"]):
    """How many threads there were at most, looked at five times a second."""

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _ThreadCount:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.2):
            self.most = max(self.most, threading.active_count() - 1)


def verdict(result: dict[str, Any]) -> list[str]:
    """What of a result is not as promised; the smallest sizes carry the fixed costs and are only shown."""
    found = []
    if result["nodes"] >= 100 and result["cpuMsPerNode"] > CPU_MS_PER_NODE:
        found.append(f"{result['cpuMsPerNode']} ms of CPU a node, promised are {CPU_MS_PER_NODE:g}")
    if result["nodes"] >= 100 and result["memoryMBPerNode"] > MEMORY_MB_PER_NODE:
        found.append(f"{result['memoryMBPerNode']} MB a node, promised is {MEMORY_MB_PER_NODE:g}")
    found += [f"the {kind} host is not named" for kind, text in result["named"].items() if text == "NOT NAMED"]
    slow = [title for title, seconds in result["phases"].items() if seconds > DEADLINE + 2]
    found += [f"`{title}` took longer than its deadline of {DEADLINE:g} s" for title in slow]
    found += ["nodes still run after the stop"] if result["stillRunning"] else []
    return found


def main() -> int:
    """Measure all sizes and print a table; exit code 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,1000")
    parser.add_argument("--bundle")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kwok", type=int, help="a real control plane with so many kwok nodes (see scale_kwok.py)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.one:
        print(json.dumps(measure(options.one, options.bundle)))
        return 0
    results: list[dict[str, Any]] = []
    failed = drive(options, results) if options.sizes else []
    if options.kwok:
        import scale_kwok

        results.append(scale_kwok.measure(options.kwok, options.bundle))
        failed += scale_kwok.show(results[-1])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print("\n".join(["", *failed] if failed else ["", "as promised"]))
    return 1 if failed else 0


def drive(options: argparse.Namespace, results: list[dict[str, Any]]) -> list[str]:
    """Measure the driver in all sizes; returns what is not as promised."""
    print("nodes  ready    up   stop  CPU ms/node  stop ms/node  MB/node  threads  blob KB")
    for size in map(int, options.sizes.split(",")):
        argv = [sys.executable, __file__, "--one", str(size), *(["--bundle", options.bundle] if options.bundle else [])]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout)
        results.append(result)
        print(
            f"{size:5}  {result['ready']:5}  {result['wallSeconds']:4.1f}  {result['stopSeconds']:4.1f} s"
            f"  {result['cpuMsPerNode']:10.2f}  {result['stopCpuMsPerNode']:12.2f}  {result['memoryMBPerNode']:7.3f}"
            f"  {result['mostThreads']:7}  {result['blobKB']:7.1f}"
        )
    largest = results[-1]
    print("\nwhere the time goes, largest size:")
    for title, seconds in largest["phases"].items():
        print(f"  {title:<28} {seconds:6.2f} s")
    for kind, text in largest["named"].items():
        print(f"  {kind}: {text.splitlines()[0]}")
    return [f"{result['nodes']} nodes: {problem}" for result in results for problem in verdict(result)]


if __name__ == "__main__":
    sys.exit(main())
