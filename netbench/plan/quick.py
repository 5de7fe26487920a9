"""Plans that need no file: a first look on one machine in about half a minute, and the usual one in a job.

The first look asks one small question that half a minute decides: what a short message between two nodes costs in a
pod, beside bare metal on the same hosts with the cluster there. Longer messages, applications and what the cluster
itself costs need more time and a plan.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from netbench.plan.document import API_VERSION, Plan, plan_from

TITLE = "A first look on one machine"
NODES = 2
REPEATS = 10
CASE = {"case": "osu_latency", "parameters": {"sizes": "8:8", "iterations": 2500, "warmup": 250}}


def quick_plan(repeats: int = REPEATS) -> Plan:
    """Two ranks on two local nodes; all places in every repeat, in shuffled turns, with the cluster brought up once."""
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "name": "quick",
            "places": ["bare-metal-beside", "pod-native", "pod-mesh"],
            "nodes": [2],
            "repeats": repeats,
            "warmups": 1,
            "timeLimit": 30,
            "cases": [dict(CASE)],
            "cluster": {
                "managed": True,
                "name": "netbench-quick",
                "settings": [f"nodes={NODES}"],
                "settle": 0,
                "weigh": 0,
            },
        },
        "the quick plan",
    )


def new_folder(parent: Path) -> Path:
    """A folder of its own for each look: figures of another day are not taken for today's."""
    return parent / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def what_next(repeats: int) -> str:
    """How to ask more than the first look did."""
    return (
        f"this was one small question: a message of 8 bytes between two nodes of this machine, {repeats} runs a place\n"
        f"  netbench quick --repeats {4 * repeats} --seconds 0   the same with narrower intervals\n"
        "  netbench run PLAN.yaml                  your hosts, your MPI, other benchmarks and networks"
    )


def job_plan(launcher: str = "flux") -> Plan:
    """The usual comparison on the first two hosts of a Flux or Slurm job, 20 runs of each case at each place."""
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "name": f"{launcher}-job",
            "launcher": launcher,
            "places": ["bare-metal", "bare-metal-beside", "pod-native", "pod-mesh"],
            "cases": [
                {"case": "osu_latency", "parameters": {"sizes": "8:65536"}},
                {"case": "osu_bw", "parameters": {"sizes": "8192:1048576", "iterations": 100, "warmup": 10}},
                {"case": "osu_allreduce", "parameters": {"sizes": "8:65536"}},
                {"case": "osu_barrier", "parameters": {"iterations": 5000}},
                "lammps_lj",
                {"case": "noise", "places": ["bare-metal", "bare-metal-beside"]},
            ],
            "cluster": {"managed": True, "name": "netbench", "settings": [f"launcher={launcher}", "nodes=2"]},
        },
        "the job's plan",
    )
