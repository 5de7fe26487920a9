"""Plans that need no file: a first look on one machine in about half a minute, and the usual one in a job.

The first look shows that everything works and roughly what pods cost; it is too short to decide anything.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from netbench.plan.document import API_VERSION, Plan, plan_from
from netbench.plan.runs import estimate, known_times, runs_of

TITLE = "A first look on one machine"
NODES = 3
ENOUGH = 20
CASES = (
    {
        "case": "osu_latency",
        "parameters": {"sizes": "8:2048", "iterations": 200, "warmup": 20},
        "places": ["bare-metal", "pod-native", "pod-mesh"],
    },
    {"case": "lammps_lj", "parameters": {"x": 16, "y": 16, "z": 16, "steps": 40}},
    {"case": "noise", "parameters": {"quanta": 200}, "places": ["bare-metal", "bare-metal-beside"]},
)


def quick_plan(repeats: int = 3) -> Plan:
    """Two ranks on two of three local nodes.

    A few repeats are made with the cluster brought up once, bare metal before and after it; with more of them the
    places take turns, as a comparison wants it.
    """
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "name": "quick",
            "places": ["bare-metal", "pod-native"],
            "nodes": [2],
            "repeats": repeats,
            "repeatsPerVisit": max(1, repeats - 1) if repeats < ENOUGH else 1,
            "warmups": 1,
            "timeLimit": 30,
            "cases": [dict(case) for case in CASES],
            "cluster": {
                "managed": True,
                "name": "netbench-quick",
                "settings": [f"nodes={NODES}"],
                "settle": 0,
                "weigh": 2,
            },
        },
        "the quick plan",
    )


def new_folder(parent: Path) -> Path:
    """A folder of its own for each look: figures of another day are not taken for today's."""
    return parent / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def what_next(repeats: int, out: Path) -> str:
    """How to get an answer, and how long that takes at the pace of the runs in `out`."""
    if repeats >= ENOUGH:
        return "for other hosts, sizes and networks write a plan: netbench run PLAN.yaml"
    minutes = estimate(runs_of(quick_plan(ENOUGH))[0], known_times(out)) / 60
    return (
        f"this was a first look: {repeats} runs at each place decide nothing. For an answer, on a quiet machine:\n"
        f"  netbench quick --repeats {ENOUGH} --seconds 0   here, the places taking turns, about {minutes:.0f} min\n"
        "  netbench run PLAN.yaml                  on your hosts, with your MPI and benchmarks"
    )


def job_plan() -> Plan:
    """The usual comparison on the first two hosts of a Flux job, 20 runs of each case at each place."""
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "name": "flux-job",
            "launcher": "flux",
            "places": ["bare-metal", "bare-metal-beside", "pod-native", "pod-mesh"],
            "cases": [
                {"case": "osu_latency", "parameters": {"sizes": "8:65536"}},
                {"case": "osu_bw", "parameters": {"sizes": "8192:1048576", "iterations": 100, "warmup": 10}},
                {"case": "osu_allreduce", "parameters": {"sizes": "8:65536"}},
                {"case": "osu_barrier", "parameters": {"iterations": 5000}},
                "lammps_lj",
                {"case": "noise", "places": ["bare-metal", "bare-metal-beside"]},
            ],
            "cluster": {"managed": True, "name": "netbench", "settings": ["launcher=flux", "nodes=2"]},
        },
        "the job's plan",
    )
