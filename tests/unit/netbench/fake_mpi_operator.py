"""Stands in for mpi-operator behind `fake_kubectl`: pods of an MPIJob as JSON files, its launcher's script run here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

RUNNING = {
    "phase": "Running",
    "podIP": "127.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"state": {"running": {}}}],
}
LAUNCHER = "netbench-launcher-x7k2p"


def take_up(folder: Path, job: dict[str, Any], trouble: str) -> None:
    """Start the pods, the workers in an order of nodes that nobody asked for."""
    if trouble == "no operator" or job["spec"]["runPolicy"].get("suspend"):
        return
    replicas = job["spec"]["mpiReplicaSpecs"]
    nodes = [f"node{i}" for i in reversed(range(replicas["Worker"]["replicas"]))]
    for i, node in enumerate(nodes):
        _write(folder, f"{job['metadata']['name']}-worker-{i}", replicas["Worker"]["template"], node)
    _write(folder, LAUNCHER, replicas["Launcher"]["template"], "node0")


def main(folder: Path, verb: str, rest: list[str], trouble: str) -> int:
    """The verbs that netbench uses on MPIJobs and their launchers."""
    if verb in ("get", "wait") and trouble in ("no crd", "no operator"):
        missing = 'error: the server doesn\'t have a resource type "mpijobs"' if trouble == "no crd" else ""
        late = "error: timed out waiting for the condition on mpijobs/x" if verb == "wait" else ""
        print(missing or late, file=sys.stderr)
        return 1 if missing or late else 0
    if verb == "delete":
        for path in (*folder.glob(f"{rest[1]}-worker-*.json"), folder / f"{LAUNCHER}.json"):
            path.unlink(missing_ok=True)
    elif verb == "exec":
        target = rest[-1].rpartition("/tmp/")[2]
        (folder / target).write_text(sys.stdin.read(), encoding="utf-8")
    elif verb == "logs":
        _launch(folder, trouble)
    return 0


def _launch(folder: Path, trouble: str) -> None:
    """Run what was put into the launcher, with ssh that goes nowhere; then the launcher's pod has ended."""
    agent = (folder / "agent.sh").read_text(encoding="utf-8")
    (folder / "agent.sh").write_text(re.sub(r"exec ssh .* root@\S+ ", "exec sh -c ", agent), encoding="utf-8")
    (folder / "agent.sh").chmod(0o755)
    script = (folder / "start.sh").read_text(encoding="utf-8").replace("/tmp/agent.sh", str(folder / "agent.sh"))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    print("".join(f"netbench stderr: {line}\n" for line in done.stderr.splitlines()) + done.stdout, end="")
    path = folder / f"{LAUNCHER}.json"
    if trouble == "launcher gone":
        path.unlink()
        return
    pod = json.loads(path.read_text(encoding="utf-8"))
    pod["status"]["containerStatuses"] = [{"state": {"terminated": {"exitCode": done.returncode}}}]
    path.write_text(json.dumps(pod), encoding="utf-8")


def _write(folder: Path, name: str, template: dict[str, Any], node: str) -> None:
    metadata = {"name": name, **template["metadata"]}
    pod = {"metadata": metadata, "spec": {**template["spec"], "nodeName": node}, "status": RUNNING}
    (folder / f"{name}.json").write_text(json.dumps(pod), encoding="utf-8")
