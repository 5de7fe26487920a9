"""What a resting cluster costs a host: the CPU time of one process tree, and of no other."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from netbench.places import idle


def test_ticks_become_percent_of_one_core() -> None:
    assert idle.parse("@hz 100\n@ticks 0\n@ticks 50\n") == 10.0
    assert idle.parse("@none\n") is None


def test_the_tree_is_found_by_the_nodes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "SECONDS", 1)
    busy = "while :; do :; done"
    root = subprocess.Popen(
        ["sh", "-c", f"sh -c '{busy}' & wait", f"--state-dir={tmp_path}/rk"], start_new_session=True
    )
    try:
        asked = [
            subprocess.Popen(
                ["sh", "-c", idle.script(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for folder in (str(tmp_path), "/elsewhere")
        ]
        (out, err), (other, _) = [process.communicate() for process in asked]
        assert [process.returncode for process in asked] == [0, 0]
    finally:
        os.killpg(root.pid, signal.SIGKILL)
        root.wait()
    cost = idle.parse(out)
    assert cost is not None
    assert cost > 5
    assert err == ""
    assert idle.parse(other) is None
