"""What a resting cluster costs a host: the CPU time of one process tree, and of no other."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from netbench.places import idle


def test_ticks_become_percent_of_one_core() -> None:
    assert idle.parse("@hz 100\n@ticks 0\n@ticks 50\n", 5) == 10.0
    assert idle.parse("@none\n", 5) is None


def test_the_tree_is_found_by_the_nodes_folder(tmp_path: Path) -> None:
    busy = "while :; do :; done"
    root = subprocess.Popen(
        ["sh", "-c", f"sh -c '{busy}' & wait", f"--state-dir={tmp_path}/rk"], start_new_session=True
    )
    try:
        done = subprocess.run(["sh", "-c", idle.script(str(tmp_path), 1)], capture_output=True, text=True, check=True)
        os.killpg(root.pid, signal.SIGSTOP)  # to be there is enough now
        other = subprocess.run(["sh", "-c", idle.script("/elsewhere", 1)], capture_output=True, text=True, check=True)
    finally:
        os.killpg(root.pid, signal.SIGKILL)
        root.wait()
    cost = idle.parse(done.stdout, 1)
    assert cost is not None
    assert cost > 5
    assert done.stderr == ""
    assert idle.parse(other.stdout, 1) is None
