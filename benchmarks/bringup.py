"""How long a cluster takes to come up, beside the usual kubeadm sequence on the same machine with the same binaries.

::

    python benchmarks/bringup.py [--repeats 5] [--nodes 1,2,4,8] [--no-baseline]

Local nodes, from the start of ``usernetes up`` to all Ready, and on to its end: DNS and a pod on every node. The
baseline (see `kubeadm.baseline`) has machines with network and containerd, and the images imported, before its clock
starts at ``kubeadm init``: what those took is shown and not held against it. The two take turns within one run, the
first one changing, so that both see the same machine. Then the growth: other numbers of nodes, and where the time
goes, phase by phase, as the driver and each node's supervisor saw it. All figures are seconds, medians over the
repeats with (minimum-maximum).

The second line compares unlike things, to kubeadm's advantage: its pods are ready when DNS answers one name, ours when
they found all others by name and the next one's page came across the pod network.

Run it as an unprivileged user with subordinate ids and a bundle. It cleans up after itself, also on Ctrl-C and TERM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, not another one that is installed

from kubeadm import images
from kubeadm.baseline import CANNOT_PASS, Kubeadm

from usernetes_deploy.bundle import Bundle
from usernetes_deploy.commands.common import located
from usernetes_deploy.errors import UsernetesError

NODES = 3  # of the comparison
GOALS = {"all Ready": 5.0, "DNS and a pod a node": 7.0}
RATIO_GOAL = 1 / 5
READY, PODS = GOALS
LINE = re.compile(r"\[ *\d+/\d+\] (.+?)  ")
WAIT_READY, CHECK_NETWORK = "wait for Ready", "check DNS and pod network"


@dataclass(frozen=True)
class Run:
    """One bring-up: seconds from its start to `READY` and `PODS`, and by phase."""

    reached: Mapping[str, float]
    driver: Mapping[str, float]
    nodes: Mapping[str, Mapping[str, float]]  # role -> mark of the supervisor -> seconds after that node's start


def ours(count: int, folder: Path) -> Run:
    """One `usernetes up` and `down`; raises `UsernetesError` with its last words when it fails."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-m", "usernetes_deploy.cli"]
    words: list[str] = []
    driver: dict[str, float] = {}
    reached: dict[str, float] = {}
    began = last = time.monotonic()
    process = subprocess.Popen(
        [*command, "up", "--cluster", "bringup", "--nodes", str(count)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    try:
        for line in process.stderr:
            now = time.monotonic()
            words.append(line)
            if (found := LINE.match(line)) and "FAILED" not in line:
                # what comes before the first phase (the interpreter, the spec) is counted to it
                driver[found[1]], last = now - last, now
                reached[found[1]] = now - began
        if process.wait() or CHECK_NETWORK not in reached:
            raise UsernetesError("".join(words[-10:]), tried="usernetes up")
        state = json.loads((folder / "usernetes" / "bringup" / "cluster.json").read_text())
        told = [json.loads(Path(node["directory"], "status.json").read_text()) for node in state["members"]]
        return Run({READY: reached[WAIT_READY], PODS: reached[CHECK_NETWORK]}, driver, by_role(told))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate()
        subprocess.run(
            [*command, "down", "--cluster", "bringup", "--quiet"],
            env=environment,
            check=True,
            start_new_session=True,
        )


def by_role(told: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """The supervisors' marks of the first node, and the latest of all workers.

    >>> by_role([{"controlPlane": True, "phases": {"network": 0.2}}])
    {'control plane': {'network': 0.2}}
    """
    roles: dict[str, dict[str, float]] = {}
    for node in told:
        marks = roles.setdefault("control plane" if node["controlPlane"] else "slowest worker", {})
        phases = node["phases"]
        assert isinstance(phases, dict)
        for mark, seconds in phases.items():
            marks[mark] = max(seconds, marks.get(mark, 0.0))
    return roles


def usual(bundle: Bundle, archives: dict[str, Path], folder: Path) -> dict[str, float]:
    """One bring-up with kubeadm: seconds by step."""
    with Kubeadm(bundle, archives, NODES, folder) as cluster:
        return cluster.bring_up()


def usual_reached(steps: Mapping[str, float]) -> dict[str, float]:
    """Seconds from ``kubeadm init`` on."""
    ready = steps["kubeadm init"] + steps["kubeadm join"] + steps[READY]
    return {READY: ready, PODS: ready + steps[PODS]}


def text(values: Sequence[float]) -> str:
    """
    >>> text([1.0, 2.0, 4.5])
    '  2.00 (1.00-4.50)'
    """
    return f"{statistics.median(values):6.2f} ({min(values):.2f}-{max(values):.2f})"


def show_comparison(runs: Sequence[Run], baseline: Sequence[Mapping[str, float]]) -> None:
    """Print both ways side by side, each against its goal."""
    print(f"\n{NODES} local nodes, {len(runs)} runs of each          usernetes up              goal", end="")
    print("    kubeadm init, join, join   ratio   goal" if baseline else "")
    for what, goal in GOALS.items():
        mine = [run.reached[what] for run in runs]
        met = "met" if statistics.median(mine) <= goal else "MISSED"
        print(f"  {what:<24} {text(mine):>28}   {goal:g} {met:<8}", end="")
        if baseline:
            theirs = [usual_reached(steps)[what] for steps in baseline]
            ratio = statistics.median(mine) / statistics.median(theirs)
            met = "met" if ratio <= RATIO_GOAL else "MISSED"
            print(f" {text(theirs):>28}   {ratio:5.3f}   {f'{RATIO_GOAL:g} {met}' if what == READY else ''}", end="")
        print()
    if baseline:
        print("\nthe usual way, step by step (the clock starts at kubeadm init)")
        for step in baseline[0]:
            print(f"  {step:<24} {text([steps[step] for steps in baseline]):>28}")
        whole = [sum(seconds for step, seconds in steps.items() if step != PODS) for steps in baseline]
        mine = [run.reached[READY] for run in runs]
        print(f"  {'from nothing to Ready':<24} {text(whole):>28}", end="")
        print(f"   ratio {statistics.median(mine) / statistics.median(whole):.3f}")
        for check, why in CANNOT_PASS.items():
            print(f"  not fatal: preflight's {check}: {why}")


def show_growth(runs: Mapping[int, Sequence[Run]]) -> None:
    """Print a column a number of nodes: what was reached when, then driver's phases and supervisors' marks."""
    counts = sorted(runs)

    def row(name: str, values: Sequence[float | None], digits: int = 2) -> None:
        print(f"  {name:<32}" + "".join("       -" if v is None else f"{v:8.{digits}f}" for v in values))

    def median(count: int, pick: str, role: str | None = None) -> float | None:
        tables = [run.driver if role is None else run.nodes.get(role, {}) for run in runs[count]]
        found = [table[pick] for table in tables if pick in table]
        return statistics.median(found) if found else None

    print("\nnodes                             " + "".join(f"{count:8}" for count in counts))
    for what in GOALS:
        medians = [statistics.median(run.reached[what] for run in runs[count]) for count in counts]
        row(what, medians)
        row("  ratio to the fewest nodes", [value / medians[0] for value in medians])
    print(" where the time goes: the driver's phases")
    for phase in next(iter(runs.values()))[0].driver:
        row(phase, [median(count, phase) for count in counts])
    roles: dict[str, dict[str, float]] = {}
    for run in (run for group in runs.values() for run in group):
        for role, marks in run.nodes.items():
            roles.setdefault(role, {}).update(marks)
    for role, marks in roles.items():
        print(f" {role}: when reached, after its start")
        latest = counts[-1]
        for mark in sorted(marks, key=lambda mark: median(latest, mark, role) or 0.0):
            row(mark, [median(count, mark, role) for count in counts])


@contextlib.contextmanager
def said(what: str) -> Iterator[None]:
    """Progress on stderr."""
    began = time.monotonic()
    yield
    print(f"{what:<24} {time.monotonic() - began:6.1f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def end(number: int, _: object) -> NoReturn:
    """Ctrl-C and TERM: once, so that cleaning up is not cut short by an impatient second one."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each kind (at least 1); the median is shown")
    parser.add_argument("--nodes", default="1,2,4,8", help="numbers of nodes for the growth; empty: none")
    parser.add_argument("--no-baseline", action="store_true", help="without kubeadm")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats: at least 1")
    counts = [int(word) for word in options.nodes.split(",") if word]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    runs: dict[int, list[Run]] = {}
    baseline: list[dict[str, float]] = []
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="usernetes-bringup.", dir="/var/tmp") as name:
        folder = Path(name)
        bundle = located(None)
        archives = {} if options.no_baseline else images.make(bundle, folder)

        def measure(count: int) -> None:
            with said(f"usernetes up, {count}"):
                runs.setdefault(count, []).append(ours(count, folder))

        def measure_usual() -> None:
            if not options.no_baseline:
                with said("kubeadm"):
                    baseline.append(usual(bundle, archives, folder))

        for repeat in range(options.repeats):
            pair = [lambda: measure(NODES), measure_usual]
            for work in pair if repeat % 2 == 0 else pair[::-1]:
                work()
            for count in counts:
                if count != NODES:
                    measure(count)
            loads.append(os.getloadavg()[0])
    print(f"{os.cpu_count()} CPUs, load average before and after each round: {' '.join(f'{one:.1f}' for one in loads)}")
    show_comparison(runs[NODES], baseline)
    if counts:
        show_growth(runs)


if __name__ == "__main__":
    main()
