"""Plans that need no file: a first look on one machine in less than three minutes, and the usual one in a job.

The first look shows that everything works and roughly what pods cost; it is too short to decide anything close.
"""

from __future__ import annotations

from pathlib import Path

from netbench.plan import API_VERSION, Plan, plan_from
from netbench.report import write_report

NODES = 3
CASES = (
    {
        "case": "osu_latency",
        "parameters": {"sizes": "8:2048", "iterations": 300, "warmup": 30},
        "places": ["bare-metal", "pod-native", "pod-mesh"],
    },
    {"case": "osu_allreduce", "parameters": {"sizes": "8:2048", "iterations": 200, "warmup": 20}},
    {"case": "lammps_lj", "parameters": {"x": 16, "y": 16, "z": 16, "steps": 40}},
    {"case": "noise", "parameters": {"quanta": 300}},
)


def quick_plan(repeats: int = 6) -> Plan:
    """Two ranks on two of three local nodes; six repeats are the fewest that the rules of comparison take."""
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "name": "quick",
            "places": ["bare-metal", "pod-native"],
            "nodes": [2],
            "repeats": repeats,
            "repeatsPerVisit": 5,
            "warmups": 1,
            "timeLimit": 30,
            "cases": [dict(case) for case in CASES],
            "cluster": {"managed": True, "name": "netbench-quick", "settings": [f"nodes={NODES}"], "settle": 1},
        },
        "the quick plan",
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


def quick_report(out: Path) -> Path:
    """The page of what was measured."""
    return write_report(out / "runs", out, title="A first look on one machine").html
