"""Stands in for kubectl: pods are JSON files in a folder, and ``trouble`` in it says what becomes of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_mpi_operator  # type: ignore[import-not-found]  # a script, beside this one

READY = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
NO_IMAGE = {"waiting": {"reason": "ErrImageNeverPull", "message": "image is not there"}}
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
NODES = [{"status": {"images": [{"names": ["localhost/usernetes/pause:3.10", "busybox:1"]}]}}]


def main(folder: Path, words: list[str]) -> int:
    """``-n NAMESPACE VERB ...`` as netbench calls it."""
    verb, rest = words[2], words[3:]
    trouble = (folder / "trouble").read_text().strip() if (folder / "trouble").exists() else ""
    if trouble == "gone":
        return complain("error: the server could not be reached")
    if rest[:1] == ["-i"] or verb == "logs" or any("mpijobs" in word for word in rest):
        return int(fake_mpi_operator.main(folder, verb, rest, trouble))
    if verb == "create":
        made = json.load(sys.stdin)
        if made["kind"] == "MPIJob":
            fake_mpi_operator.take_up(folder, made, trouble)
            return 0
        for pod in made["items"]:
            broken = {"phase": "Pending", "containerStatuses": [{"state": NO_IMAGE}]}
            write(folder, {**pod, "status": broken if trouble == "image" else READY})
    elif verb == "delete":
        for name in rest[1:]:
            (folder / f"{name}.json").unlink(missing_ok=True)
    elif verb == "exec":
        return execute(folder, rest[0], rest[2:], trouble)
    elif verb == "version":
        print(json.dumps({"serverVersion": {"gitVersion": "v1.36.3"}}))
    elif rest[0] == "nodes":
        print(json.dumps({"items": NODES}))
    elif "--watch" in rest:
        watch(folder)
    else:
        wanted = rest[rest.index("-l") + 1].partition("=")[2]
        print(json.dumps({"items": [pod for pod in pods(folder) if wanted in pod["metadata"]["labels"].values()]}))
    return 0


def pods(folder: Path) -> list[dict[str, Any]]:
    """All of them."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def write(folder: Path, pod: dict[str, Any]) -> None:
    """Whole or not at all: a watch reads beside us."""
    partial = folder / f"{pod['metadata']['name']}.partial"
    partial.write_text(json.dumps(pod))
    partial.replace(partial.with_suffix(".json"))


def watch(folder: Path) -> None:
    """Every pod once, until ended."""
    shown: set[str] = set()
    while True:
        for pod in pods(folder):
            if pod["metadata"]["name"] not in shown:
                shown.add(pod["metadata"]["name"])
                print(json.dumps(pod, indent=4), flush=True)
        time.sleep(0.02)


def execute(folder: Path, name: str, argv: list[str], trouble: str) -> int:
    """In the pod is here."""
    if not (folder / f"{name}.json").exists():
        return complain(f'Error from server (NotFound): pods "{name}" not found')
    if trouble == "evict":
        write(folder, {**json.loads((folder / f"{name}.json").read_text()), "status": EVICTED})
        (folder / "trouble").unlink(missing_ok=True)
        return complain("error: cannot exec into a container in a completed pod")
    return subprocess.run(argv, check=False).returncode


def complain(text: str) -> int:
    """As kubectl does."""
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
