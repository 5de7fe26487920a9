"""Stand-ins for hydra, OSU and kubectl: small programs that do what the real ones do as far as netbench sees it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from netbench.plan import API_VERSION, Plan, plan_from

# Starts every rank by the agent, passes the first one's output on, and ends all when one is lost, as hydra does.
HYDRA = f"""#!{sys.executable}
import os, shlex, signal, subprocess, sys
args, value, env = sys.argv[1:], {{}}, []
if args == ["--version"]: print("HYDRA build details:\\n    Version: 0.0"); sys.exit(0)
while args and args[0].startswith("-"):
    flag = args.pop(0)
    if flag == "-genv": env.append(f"{{args.pop(0)}}={{args.pop(0)}}")
    elif flag not in ("-genvnone", "-disable-hostname-propagation"): value[flag] = args.pop(0)
ranks = []
for number in range(int(value["-n"])):
    node = value["-hosts"].split(",")[number // int(value["-ppn"])]
    line = shlex.join(["env", f"PMI_RANK={{number}}", *env, *args])
    out = None if number == 0 else subprocess.DEVNULL
    ranks.append((node, subprocess.Popen([value["-launcher-exec"], "-x", node, line], stdout=out)))
def end(*_):
    for _, rank in ranks: rank.kill()
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
for node, rank in ranks:
    code = rank.wait()
    if code:
        how = f"Killed (signal {{-code}})" if code < 0 else ""
        print(f"=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\\n=   PID {{rank.pid}} RUNNING AT {{node}}")
        print(f"=   EXIT CODE: {{abs(code)}}\\n=   CLEANING UP REMAINING PROCESSES")
        if how: print(f"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: {{how}}")
        sys.stdout.flush()
        for _, other in ranks: other.kill()
        sys.exit(abs(code))
"""
BARRIER = """#!/bin/sh
[ "$1" = -h ] && { echo "  -i ITER"; exit 0; }
[ "$PMI_RANK" = 0 ] || exit 0
printf '\\n# OSU MPI Barrier Latency Test v7.4\\n# Avg Latency(us)\\n             %s\\n' "$FIGURE"
"""


def program(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def install(prefix: Path, body: str = "", figure: str = "4.25") -> None:
    """hydra and an osu_barrier in `prefix`; `body` runs in every rank before the figure is printed."""
    program(prefix / "bin" / "mpiexec.hydra", HYDRA)
    before, rest = BARRIER.split('[ "$PMI_RANK" = 0 ]')
    text = f'{before}{body}\n[ "$PMI_RANK" = 0 ]{rest}'.replace('"$FIGURE"', f'"{figure}"')
    program(prefix / "bin" / "osu_barrier", text)


def small_plan(prefix: Path, **fields: Any) -> Plan:
    """Two local nodes, one benchmark, two repeats; MPI is left its own transport, since the stand-ins send nothing."""
    return plan_from(
        {
            "apiVersion": API_VERSION,
            "kind": "Benchmark",
            "cases": ["osu_barrier"],
            "places": ["bare-metal"],
            "repeats": 2,
            "warmups": 0,
            "timeLimit": 20,
            "mpi": {"transport": "default"},
            "software": {"prefixes": [str(prefix)]},
            **fields,
        }
    )


# Keeps pods as JSON files in $FAKE_PODS; `trouble` in that folder decides what becomes of new ones.
KUBECTL = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys, time
words = [w for w in sys.argv[1:]]
folder = pathlib.Path({{folder!r}})
def pods(): return [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
if "-n" in words: i = words.index("-n"); del words[i:i + 2]
verb, rest = words[0], words[1:]
trouble = (folder / "trouble").read_text().strip() if (folder / "trouble").exists() else ""
if trouble == "silent": time.sleep(60)
if trouble == "gone": print("error: the server could not be reached", file=sys.stderr); sys.exit(1)
if verb == "create":
    for pod in json.load(sys.stdin)["items"]:
        ready = {{{{"phase": "Running", "podIP": "127.0.0.1", "conditions": [{{{{"type": "Ready", "status": "True"}}}}]}}}}
        waiting = {{{{"reason": "ErrImageNeverPull", "message": "image is not there"}}}}
        broken = {{{{"phase": "Pending", "containerStatuses": [{{{{"state": {{{{"waiting": waiting}}}}}}}}]}}}}
        pod["status"] = broken if trouble == "image" else ready
        (folder / (pod["metadata"]["name"] + ".json")).write_text(json.dumps(pod))
elif verb == "delete":
    for word in rest[1:]:
        if not word.startswith("-"): (folder / (word + ".json")).unlink(missing_ok=True)
elif verb == "get" and rest[0] == "nodes":
    images = [{{{{"names": ["localhost/usernetes/pause:3.10", "busybox:1"]}}}}]
    print(json.dumps({{{{"items": [{{{{"status": {{{{"images": images}}}}}}}}]}}}}))
elif verb == "get" and "--watch" in rest:
    shown = set()
    while True:
        for pod in pods():
            if pod["metadata"]["name"] not in shown:
                shown.add(pod["metadata"]["name"]); print(json.dumps(pod, indent=4), flush=True)
        time.sleep(0.02)
elif verb == "get":
    print(json.dumps({{{{"items": pods()}}}}))
elif verb == "exec":
    pod = folder / (rest[0] + ".json")
    if not pod.exists(): print(f'Error from server (NotFound): pods "{{{{rest[0]}}}}" not found', file=sys.stderr); sys.exit(1)
    if trouble == "evict":
        held = json.loads(pod.read_text())
        held["status"] = {{{{"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}}}}
        pod.write_text(json.dumps(held)); (folder / "trouble").unlink()
        print("error: cannot exec into a container in a completed pod", file=sys.stderr); sys.exit(1)
    os.execvp(rest[2], rest[2:])
else: print(f"fake kubectl: {{{{verb}}}}", file=sys.stderr); sys.exit(2)
"""


def kubectl(tmp_path: Path) -> tuple[Path, Path]:
    """A kubectl and the folder of its pods."""
    folder = tmp_path / "pods"
    folder.mkdir()
    return program(tmp_path / "kubectl", KUBECTL.format(folder=str(folder))), folder
