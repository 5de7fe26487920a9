#!/usr/bin/env python3
"""How long a cluster takes to come and to go, by launcher: medians over several runs, in seconds, as JSON.

::

    benchmarks/launch.py --flux 3 [--runs 5] [--bundle FOLDER]           where `flux` reaches an instance of ours
    benchmarks/launch.py --slurm 3 [--runs 5] [--bundle FOLDER]          where Slurm has three hosts that jobs may share
    benchmarks/launch.py --slurm 3 --cancel 20 [--seed 1]                so many jobs, each cancelled at some moment
    benchmarks/launch.py --ssh 'th[0-2]' [--runs 5] [--bundle FOLDER]    where the hosts let us in by SSH

With ``--cancel`` nothing is timed: jobs are submitted, used if they get as far, and cancelled at a random moment, from
the first in the queue to some seconds after Ready; what is left on the hosts and what says something wrong is counted.

Run it as the user whose clusters they are. With Flux, ``ready`` is from ``flux batch`` to all nodes Ready, ``proven``
to DNS and the pod network proven as well, and ``gone`` from ``flux cancel`` to an ended job and not one process or
folder of its nodes on any host. With Slurm they are of ``sbatch`` and ``scancel``, less the time in the queue, which is
``queued``; a second job looks at the hosts meanwhile, so each needs one more CPU. With SSH they are of ``usernetes up``
and ``usernetes down``. The first run is not counted: it puts the bundle on the hosts. Times mean nothing on a busy
machine, so the load before each run is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from usernetes_deploy.errors import Secret
from usernetes_deploy.jobs import submitting
from usernetes_deploy.launch.flux.instance import Instance
from usernetes_deploy.launch.flux.system import FluxSystem
from usernetes_deploy.launch.slurm.steps import environment
from usernetes_deploy.launch.slurm.system import SlurmSystem

ROOT = Path(__file__).resolve().parents[1]
CLI = [sys.executable, "-m", "usernetes_deploy.cli"]
AIMS = {"flux": {"ready": 6.5, "gone": 1.0}, "slurm": {"ready": 8.45, "gone": 1.5}, "ssh": {"ready": 8.0, "gone": 2.0}}
PROVING = "check DNS and pod network"
# Waits, on a host, until neither a process nor a folder of the node is left. The folder comes on stdin, so that no
# command line but those of the node holds it.
GONE = """
import glob, sys, time
path = sys.stdin.readline().strip()
print("looking", flush=True)
def read(name):
    try: return open(name, "rb").read()
    except OSError: return b""
while glob.glob(path + "*") or any(path.encode() in read(name) for name in glob.glob("/proc/[0-9]*/cmdline")):
    time.sleep(0.02)
"""
# What is left on a host of any node of this user, or of its job, after up to ten seconds. It comes on stdin, after a
# line with the job's id, so that no command line holds what is looked for.
LEFT = """
import glob, os, time
folders = ["/var/tmp/usernetes-%d/*-[0-9]*", "/tmp/usernetes-%d/*-[0-9]*"]
state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
paths = [folder % os.getuid() for folder in folders]
paths += [state + "/usernetes/job-" + job + "/cluster.json", state + "/usernetes/.jobs/" + job + ".json"]
def read(name):
    try: return open(name, "rb").read().replace(bytes(1), b" ").decode(errors="replace")
    except OSError: return ""
def look():
    found = [path for pattern in paths for path in glob.glob(pattern)]
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        words = read(name)
        if "/usernetes-%d/" % os.getuid() in words or "usernetes job" in words:
            found.append(words)
    return found
ends = time.time() + 10
while look() and time.time() < ends:
    time.sleep(0.1)
for found in look():
    print(os.uname()[1], found)
"""
Times = Mapping[str, float]


def flux_run(nodes: int, bundle: str | None) -> Times:
    """One cluster in one job, cancelled when it is ready."""
    instance = Instance()
    words = ["--set", f"bundle={bundle}"] if bundle else []
    began = time.monotonic()
    submitted = instance.command(
        "batch", f"--nodes={nodes}", "--output=kvs", str(ROOT / "flux-jobs/usernetes-up.sh"), *words
    ).strip()
    job = submitting.follow(FluxSystem(instance).job(submitted), lambda _: None, 600)
    proven = time.monotonic() - began
    proving, pattern = of_record(job.record())
    began = time.monotonic()
    instance.command("cancel", submitted)
    look = ["exec", "-q", "-r", instance.job(submitted).ranks, "-d", "/", "--", "python3", "-c", GONE]
    instance.command(*look, stdin=f"{pattern}\n", timeout=60)
    submitting.wait_ended(job, 60)
    return {"ready": proven - proving, "proven": proven, "gone": time.monotonic() - began}


def of_record(record: Mapping[str, Secret] | None) -> tuple[float, str]:
    """The seconds that proving took, and what the paths of all nodes' folders begin with."""
    assert record, "the cluster has no record"
    document = json.loads(record["cluster.json"].reveal())
    return document["phases"][PROVING], document["members"][0]["directory"].rpartition("-")[0]


def slurm_run(nodes: int, bundle: str | None) -> Times:
    """One cluster in one job, cancelled when it is ready; a second job looks when the first has left the hosts."""
    system = SlurmSystem()
    words = ["--set", f"bundle={bundle}"] if bundle else []
    shape = [f"--nodes={nodes}", "--ntasks-per-node=1", "--oversubscribe"]
    script = str(ROOT / "slurm-jobs/usernetes-up.sh")
    began = time.monotonic()
    submitted = system.slurm.command("sbatch", "--parsable", *shape, "--output=/dev/null", script, *words).strip()
    while system.job(submitted).state == "pending":
        time.sleep(0.05)
    queued = time.monotonic() - began
    job = submitting.follow(system.job(submitted), lambda _: None, 600)
    proven = time.monotonic() - began - queued
    proving, pattern = of_record(job.record())
    look = ["srun", *shape, f"--nodelist={job.hosts}", "--input=all", "--unbuffered", "--chdir=/"]
    watch = subprocess.Popen(
        [*look, "python3", "-c", GONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert watch.stdin
    assert watch.stdout
    watch.stdin.write(f"{pattern}\n")
    watch.stdin.close()
    for _ in range(nodes):
        assert watch.stdout.readline() == "looking\n"
    began = time.monotonic()
    system.slurm.command("scancel", submitted)
    assert watch.wait(60) == 0
    gone = time.monotonic() - began
    submitting.wait_ended(job, 60)
    return {"queued": queued, "ready": proven - proving, "proven": proven, "gone": gone}


def cancelled_round(nodes: int, bundle: str | None, moment: float) -> tuple[str, list[str], list[str]]:
    """One job that is cancelled `moment` seconds after it was submitted.

    Returns how far it was, what it left on the hosts, and what was wrong of what was said.
    """
    system = SlurmSystem()
    words = ["--set", f"bundle={bundle}"] if bundle else []
    shape = [f"--nodes={nodes}", "--ntasks-per-node=1", "--oversubscribe"]
    script = str(ROOT / "slurm-jobs/usernetes-up.sh")
    began = time.monotonic()
    submitted = system.slurm.command("sbatch", "--parsable", *shape, "--output=/dev/null", script, *words).strip()
    wrong: list[str] = []
    used = False
    while time.monotonic() < began + moment:
        job = system.job(submitted)
        if job.cluster == "failed" or job.state == "ended":
            wrong.append(f"before it was cancelled: {job.word} {job.cluster}")
            break
        if job.cluster == "ready" and not used:
            used = True
            done = run_verb([*CLI, "kubectl", "--cluster", submitted, "get", "nodes", "--no-headers"])
            if done.stdout.count(" Ready ") != nodes:
                wrong.append(f"ready, but: {done.stdout}{done.stderr}")
        time.sleep(0.05)
    job = system.job(submitted)
    far = "used" if used else job.cluster or job.word.partition(" ")[0].lower()
    hosts = job.hosts
    system.slurm.command("scancel", submitted)
    submitting.wait_ended(job, 60)
    job = system.job(submitted)
    if job.word != "CANCELLED" or job.cluster == "failed":
        wrong.append(f"after it was cancelled: {job.word} {job.cluster}")
    done = run_verb([*CLI, "status", "--cluster", submitted])
    if done.returncode != 2 or "has ended" not in done.stderr:
        wrong.append(f"status of a cancelled job: exit code {done.returncode}: {done.stdout}{done.stderr}")
    done = run_verb([*CLI, "list"])
    if f"job-{submitted}" in done.stdout or done.returncode:
        wrong.append(f"list after the end: {done.stdout}{done.stderr}")
    if not hosts:
        return far, [], wrong
    look = ["srun", *shape, f"--nodelist={hosts}", "--input=all", "--chdir=/", "python3", "-"]
    script = f"job = {submitted!r}\n{LEFT}"
    seen = subprocess.run(
        look, input=script, capture_output=True, text=True, env=environment(), check=False, timeout=120
    )
    assert seen.returncode == 0, seen.stderr
    return far, seen.stdout.splitlines(), wrong


def cancel_rounds(nodes: int, bundle: str | None, rounds: int, seed: int) -> dict[str, object]:
    """Rounds of `cancelled_round`, after one job that is brought up undisturbed to know how long that takes."""
    first = slurm_run(nodes, bundle)
    longest = first["queued"] + first["proven"] + 4
    chosen = random.Random(seed)  # noqa: S311  nothing secret
    far: list[str] = []
    left: list[str] = []
    wrong: list[str] = []
    for number in range(1, rounds + 1):
        moment = chosen.uniform(0, longest)
        was, rest, bad = cancelled_round(nodes, bundle, moment)
        far.append(was)
        left += [f"round {number}: {line}" for line in rest]
        wrong += [f"round {number}: {line}" for line in bad]
        print(f"round {number}: cancelled after {moment:.2f} s, {was}", *rest, *bad, file=sys.stderr, flush=True)
    return {
        "launcher": "slurm",
        "rounds": rounds,
        "seed": seed,
        "cancelled": {name: far.count(name) for name in sorted(set(far))},
        "leftovers": left,
        "wrong": wrong,
    }


def run_verb(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a verb that may fail."""
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)


def ssh_run(hosts: str, bundle: str | None) -> Times:
    """One cluster over SSH, taken down when it is ready."""
    name = f"bench-{os.getpid()}"
    words = ["--bundle", bundle] if bundle else []
    began = time.monotonic()
    said = verb([*CLI, "up", "--cluster", name, "--hosts", hosts, *words])
    proven = time.monotonic() - began
    proving = re.search(rf"{PROVING}.* ([0-9.]+) s$", said, re.MULTILINE)
    assert proving, said
    began = time.monotonic()
    verb([*CLI, "down", "--cluster", name])
    return {"ready": proven - float(proving[1]), "proven": proven, "gone": time.monotonic() - began}


def verb(argv: Sequence[str]) -> str:
    """Run a verb that must succeed; returns its progress."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def measure(name: str, run: Callable[[], Times], runs: int) -> dict[str, object]:
    """The medians of `runs` runs after one that is not counted, beside the aims."""
    measured = []
    for number in range(runs + 1):
        load = os.getloadavg()[0]
        times = run()
        said = ", ".join(f"{key} {value:.2f} s" for key, value in times.items())
        print(f"{name} {number or 'not counted'}: {said} (load before: {load:.1f})", file=sys.stderr, flush=True)
        if number:
            measured.append({**times, "load": load})
    medians = {key: round(statistics.median(times[key] for times in measured), 2) for key in measured[0]}
    return {
        "launcher": name,
        "runs": [{key: round(value, 2) for key, value in times.items()} for times in measured],
        "median": medians,
        "aim": AIMS[name],
        "reached": {key: medians[key] <= aim for key, aim in AIMS[name].items()},
    }


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flux", type=int, metavar="NODES")
    parser.add_argument("--slurm", type=int, metavar="NODES")
    parser.add_argument("--ssh", metavar="HOSTS")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cancel", type=int, metavar="ROUNDS", help="with --slurm: cancel jobs at random moments")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--bundle")
    options = parser.parse_args()
    if not options.flux and not options.slurm and not options.ssh:
        parser.error("--flux, --slurm or --ssh")
    if options.runs < 1:
        parser.error("--runs: at least 1")
    results = []
    if options.flux:
        results.append(measure("flux", lambda: flux_run(options.flux, options.bundle), options.runs))
    if options.slurm and options.cancel:
        found = cancel_rounds(options.slurm, options.bundle, options.cancel, options.seed)
        print(json.dumps(found, indent=2))
        sys.exit(bool(found["leftovers"] or found["wrong"]))
    if options.slurm:
        results.append(measure("slurm", lambda: slurm_run(options.slurm, options.bundle), options.runs))
    if options.ssh:
        results.append(measure("ssh", lambda: ssh_run(options.ssh, options.bundle), options.runs))
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
