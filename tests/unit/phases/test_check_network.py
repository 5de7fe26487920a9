"""The probe that proves the network: its script, run with made-up tools, and how its failure reads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.phases import check_network


@pytest.mark.parametrize(
    ("addresses", "own", "neighbour"),
    [
        (["10.244.0.2"], "10.244.0.2", "10.244.0.2"),
        (["10.244.0.2", "10.244.1.2"], "10.244.0.2", "10.244.1.2"),
        (["10.244.0.2", "10.244.1.2"], "10.244.1.2", "10.244.0.2"),
        (["10.244.0.2", "10.244.1.2", "10.244.2.2"], "10.244.1.2", "10.244.2.2"),
        (["10.244.0.2", "10.244.1.2", "10.244.2.2"], "10.244.2.2", "10.244.0.2"),
    ],
)
def test_each_pod_visits_the_next_one_in_the_ring(
    tmp_path: Path, addresses: list[str], own: str, neighbour: str
) -> None:
    tools = {
        "nslookup": "echo 'Server: 10.96.0.10'\n" + "".join(f"echo 'Address: {address}'\n" for address in addresses),
        "wget": f'echo "$@" > {tmp_path}/visited; kill -9 $PPID',
        "timeout": 'shift; exec "$@"',
        "httpd": "exit 0",
        "usleep": "exit 0",
        "touch": "exit 0",
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = check_network.SCRIPT.replace("/tmp/", f"{tmp_path}/")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IP": own, "MEMBERS": str(len(addresses)), "DOMAIN": "x"}
    subprocess.run(["sh", "-c", script], env=env, capture_output=True, timeout=20, check=False)
    assert (tmp_path / "visited").read_text() == f"-q -O - http://{neighbour}:8080/\n"


def test_a_pod_that_does_not_start_is_told_with_the_runtimes_words() -> None:
    waiting = {"state": {"waiting": {"reason": "ErrImageNeverPull", "message": "image is not there"}}}
    pod: dict[str, Any] = {
        "spec": {"nodeName": "node1"},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    assert check_network.describe(pod) == "  node1: Pending image is not there"
    assert not check_network.is_ready(pod)
    ready = {"spec": {"nodeName": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert check_network.describe(ready) == "  n: Ready"


def test_a_pod_that_runs_but_gets_no_answer_says_so() -> None:
    pod: dict[str, Any] = {"spec": {}, "status": {"phase": "Running"}}
    assert check_network.describe(pod) == "  no node: Running no answer by name, or none from the next pod"
