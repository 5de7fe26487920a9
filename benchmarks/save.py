"""What it costs to save a cluster and to go on with it: seconds of `save` and of `up --resume`, beside a plain `up`.

On this host: a cluster of two nodes with `--objects` ConfigMaps and Secrets and `--volumes` volumes of `--megabytes`
MB each is saved; then, in turns, a plain cluster is brought up and the saved one is resumed, to Ready and proven::

    python benchmarks/save.py [--rounds 5] [--objects 2000] [--volumes 3] [--megabytes 100]

Each save is of the running cluster, while another process writes to its API every 20 ms: its slowest write is the pause
that a save causes, the slowest of as long a time without a save stands beside it. It prints JSON: every figure and the
medians. It cleans up after itself.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verbs import usernetes

from usernetes_deploy.cluster.state import ClusterState, state_root

SAVED, RESUMED, PLAIN = "save-bench", "save-bench-again", "save-bench-plain"
PERIOD = 0.02  # seconds between writes


def timed(*words: str) -> float:
    """Seconds that a verb takes, the start of Python included."""
    began = time.perf_counter()
    usernetes(*words)
    return time.perf_counter() - began


def fill(objects: int, volumes: int, megabytes: int) -> None:
    """Make the objects, and pods that fill the volumes."""
    status = json.loads(usernetes("status", "--cluster", SAVED, "--json"))
    image = next(name for name in status["nodes"][0]["images"] if name.startswith("localhost/usernetes/busybox"))
    text = base64.b64encode(os.urandom(768)).decode()
    kinds = [("ConfigMap", "data"), ("Secret", "stringData")]
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": f"bench-{number}"}, field: {"text": text}}
        for number in range(objects // 2)
        for kind, field in kinds
    ]
    for number in range(volumes):
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{megabytes}Mi"}}}
        metadata = {"name": f"bench-{number}"}
        script = f"dd if=/dev/urandom of=/data/file bs=1M count={megabytes} && touch /data/done && exec sleep 100000"
        container = {
            "name": "c",
            "image": image,
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "d", "mountPath": "/data"}],
            "readinessProbe": {"exec": {"command": ["test", "-f", "/data/done"]}, "periodSeconds": 1},
        }
        spec = {
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": metadata["name"]}}],
        }
        items.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim})
        items.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl = ["kubectl", "--cluster", SAVED]
    usernetes(*kubectl, "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    for number in range(volumes):
        usernetes(*kubectl, "wait", "--for=condition=Ready", f"pod/bench-{number}", "--timeout=180s")


class Writing:
    """Writes to the cluster's API until it is ended, and knows how long the slowest write took."""

    def __init__(self) -> None:
        self._api = ClusterState(state_root(os.environ), SAVED).api(timeout=60)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.slowest = 0.0

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._api.close()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(PERIOD):
            number += 1
            manifest = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "written", "namespace": "default"},
                "data": {"n": str(number)},
            }
            began = time.perf_counter()
            self._api.apply(manifest)
            self.slowest = max(self.slowest, time.perf_counter() - began)


def save_once(folder: Path) -> dict[str, float]:
    """One save beside a writer, and the same time without a save."""
    with Writing() as beside:
        seconds = timed("save", "--cluster", SAVED, "--to", str(folder))
    with Writing() as alone:
        time.sleep(seconds)
    return {"save": seconds, "slowestWrite": beside.slowest, "slowestWriteWithout": alone.slowest}


def resume_once(folder: Path, nodes: int) -> float:
    """Seconds to go on with the saved cluster; it is checked, and taken down."""
    seconds = timed("up", "--cluster", RESUMED, "--resume", str(folder), "--nodes", str(nodes))
    names = usernetes("kubectl", "--cluster", RESUMED, "get", "configmaps,secrets", "--output=name").split()
    found = sum("/bench-" in name for name in names)
    usernetes("down", "--cluster", RESUMED)
    if found % 2 or not found:
        raise SystemExit(f"{found} objects came back")
    return seconds


def plain_once(nodes: int) -> float:
    """Seconds of an `up` of as many nodes."""
    seconds = timed("up", "--cluster", PLAIN, "--nodes", str(nodes))
    usernetes("down", "--cluster", PLAIN)
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=100)
    wanted = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="usernetes-save-"))
    rows: list[dict[str, float]] = []
    try:
        usernetes("up", "--cluster", SAVED, "--nodes", "2")
        fill(wanted.objects, wanted.volumes, wanted.megabytes)
        rows += [save_once(folder) for _ in range(wanted.rounds)]
        size = sum(path.stat().st_size for path in folder.glob("*.usernetes"))
        usernetes("down", "--cluster", SAVED)
        for row in rows:
            row |= {"load": os.getloadavg()[0], "up": plain_once(2), "resume": resume_once(folder, 2)}
            print(json.dumps(row), file=sys.stderr, flush=True)
    finally:
        for name in (SAVED, RESUMED, PLAIN):
            usernetes("down", "--cluster", name)
        shutil.rmtree(folder)
    medians = {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
    print(json.dumps({"asked": vars(wanted), "archiveMB": round(size / 1e6, 1), "rounds": rows, "median": medians}))


if __name__ == "__main__":
    main()
