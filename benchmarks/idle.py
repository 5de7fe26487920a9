"""What a cluster at rest costs its nodes: CPU, context switches and memory, process by process.

Brings up a cluster on this host, lets it settle, and counts for a while, beside the same count of the machine without
a cluster (the baseline, so that what the host does anyway is seen)::

    python benchmarks/idle.py --nodes 2 --settle 60 --seconds 60 [--set systemCpus=0] [--runs 3]
    python benchmarks/idle.py --hosts test[0-1]    # a node a host: a worker's memory is shared with no other

CPU is in percent of one core, switches in context switches a second (voluntary and not, all threads), memory in MB of
proportional set size (what a process would free by ending, shared pages shared out). "own" is the anonymous part of it;
the rest is pages of programs and libraries, which the kernel drops and reads again as it needs memory. Kernel threads
are not counted. With --hosts they have to be network namespaces of this machine, since processes are looked at here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
AIMS = {"cpu": 0.5, "switches": 150.0, "memory": 200.0}
Row = tuple[float, float, float, float]
"""CPU percent, switches a second, memory MB, own memory MB."""
NOTHING: Row = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Count:
    """What one process has used since it began, CPU in seconds, and its memory now, all of it and its own, in bytes."""

    name: str
    seconds: float
    switches: int
    memory: int
    own: int


def descendants(root: int) -> Iterator[int]:
    """A process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text(errors="replace")
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


def count(pid: int) -> Count | None:
    """Count one process; None when it is gone."""
    base = Path(f"/proc/{pid}")
    try:
        words = base.joinpath("cmdline").read_bytes().split(b"\0")
        fields = base.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()
        switches = 0
        for task in base.joinpath("task").iterdir():
            for line in task.joinpath("status").read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
        sizes = dict(line.split()[:2] for line in base.joinpath("smaps_rollup").read_text().splitlines()[1:])
        memory, own = int(sizes["Pss:"]) * 1024, int(sizes["Pss_Anon:"]) * 1024
    except OSError:
        return None
    return Count(name_of(words), (int(fields[11]) + int(fields[12])) / TICK, switches, memory, own)


def name_of(words: list[bytes]) -> str:
    """
    >>> name_of([b"python3", b"-I", b"/x/node-1.pyz", b"supervise"]), name_of([b"/b/kubelet", b"--config=x"])
    ('supervisor', 'kubelet')
    """
    names = {b"supervise": "supervisor", b"run": "keeper", b"start": "keeper"}
    if b"python" in Path(words[0].decode(errors="replace")).name.encode() and any(w.endswith(b".pyz") for w in words):
        return next((names[word] for word in words if word in names), "node program")
    if words[0] == b"/proc/self/exe":
        return "rootlesskit"
    return Path(words[0].decode(errors="replace")).name or "?"


def switches_of_machine() -> int:
    """All context switches of the machine since boot."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("ctxt "))


def measure(keepers: Mapping[str, int], seconds: float) -> dict[str, dict[str, Row]]:
    """Node -> process -> its row, over `seconds`."""
    before = {node: {pid: count(pid) for pid in descendants(keeper)} for node, keeper in keepers.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    result: dict[str, dict[str, Row]] = {}
    for node, processes in before.items():
        rows = result.setdefault(node, {})
        for pid, first in processes.items():
            last = count(pid)
            if first is None or last is None:
                continue
            old = rows.get(last.name, NOTHING)
            rows[last.name] = (
                old[0] + (last.seconds - first.seconds) / took * 100,
                old[1] + (last.switches - first.switches) / took,
                old[2] + last.memory / 1e6,
                old[3] + last.own / 1e6,
            )
    return result


def usernetes(*words: str, state: Path) -> str:
    """Run the CLI with a state directory of our own; its stdout."""
    argv = [sys.executable, "-m", "usernetes_deploy.cli", *words]
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--hosts", help="test hosts, a node on each, instead of --nodes here")
    parser.add_argument("--settle", type=float, default=60, help="seconds before counting")
    parser.add_argument("--seconds", type=float, default=60, help="seconds of one count")
    parser.add_argument("--runs", type=int, default=3, help="counts; the median is shown")
    parser.add_argument("--set", action="append", default=[], help="a field of the spec, as systemCpus=0")
    options = parser.parse_args()
    before = switches_of_machine()
    time.sleep(10)
    print(f"baseline: the machine without the cluster makes {(switches_of_machine() - before) / 10:.0f} switches/s")
    with tempfile.TemporaryDirectory(prefix="usernetes-idle.") as folder:
        state = Path(folder)
        settings = [word for item in options.set for word in ("--set", item)]
        where = ("--hosts", options.hosts) if options.hosts else ("--nodes", str(options.nodes))
        usernetes("up", "--cluster", "idle", *where, "--quiet", *settings, state=state)
        try:
            time.sleep(options.settle)
            found = json.loads(usernetes("status", "--cluster", "idle", "--json", state=state))
            keepers = {node["name"]: node["keeper"] for node in found["nodes"]}
            roles = {node["name"]: "control plane" if node["controlPlane"] else "worker" for node in found["nodes"]}
            runs = [measure(keepers, options.seconds) for _ in range(options.runs)]
        finally:
            usernetes("down", "--cluster", "idle", "--quiet", state=state)
    show(runs, roles)


def show(runs: list[dict[str, dict[str, Row]]], roles: Mapping[str, str]) -> None:
    """Print a table a node (medians over the runs), and the workers against their aims."""
    for node, role in roles.items():
        names = sorted({name for run in runs for name in run[node]})
        print(f"\n{node} ({role})            CPU %   switches/s   memory MB   own MB")
        total = list(NOTHING)
        for name in names:
            values = [statistics.median(run[node].get(name, NOTHING)[column] for run in runs) for column in range(4)]
            total = [old + new for old, new in zip(total, values, strict=True)]
            print(f"  {name:<26} {values[0]:6.2f} {values[1]:12.1f} {values[2]:11.1f} {values[3]:8.1f}")
        print(f"  {'all':<26} {total[0]:6.2f} {total[1]:12.1f} {total[2]:11.1f} {total[3]:8.1f}")
        if role == "worker":
            shares = [value / aim for value, aim in zip(total, AIMS.values(), strict=False)]
            print(f"  {'ratio to the aim':<26} {shares[0]:6.2f} {shares[1]:12.2f} {shares[2]:11.2f}")


if __name__ == "__main__":
    main()
