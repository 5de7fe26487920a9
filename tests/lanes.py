#!/usr/bin/env python3
"""All tests: ``make test`` runs this.

First the unit tests, on all cores; then real clusters, on test hosts and in batch systems. With USERNETES_TEST_LANES=2
these two run side by side, each with its own hosts and users: some minutes sooner where there are four cores or more.
The exit code is the worst of all.

Arguments go to one ordinary ``pytest`` instead: ``make test PYTEST="tests/hosts -k growth"``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
UNIT = ("-n", "auto", "usernetes_deploy", "netbench", "tests/unit")
LANES = {"hosts": ("tests/browser", "tests/hosts"), "batch systems": ("tests/flux", "tests/slurm")}
NO_TESTS = 5  # pytest's exit code for a selection that is empty


def pytest_argv(words: Sequence[str]) -> list[str]:
    """The command of one lane; folders that are not there are left out."""
    there = [word for word in words if "/" not in word or (ROOT / word).exists()]
    return [sys.executable, "-m", "pytest", "--durations=10", *there]


def finish(name: str, process: subprocess.Popen[bytes], output: IO[bytes] | None, began: float) -> int:
    """Wait for a lane, print what it kept to itself, and return its exit code."""
    code = process.wait()
    if output:
        output.seek(0)
        print(f"\n==> {name}", flush=True)
        sys.stdout.buffer.write(output.read())
        sys.stdout.buffer.flush()
    print(f"==> {name}: {time.monotonic() - began:.0f} s, exit code {code}", flush=True)
    return 0 if code == NO_TESTS else code


def main(words: Sequence[str]) -> int:
    """Run everything, or what `words` say; returns the exit code."""
    if words:
        return subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, check=False).returncode
    began = time.monotonic()
    codes = [finish("unit tests", subprocess.Popen(pytest_argv(UNIT), cwd=ROOT), None, began)]
    if os.environ.get("USERNETES_TEST_LANES", "1") == "1":
        for name, folders in LANES.items():
            began = time.monotonic()
            codes.append(finish(name, subprocess.Popen(pytest_argv(folders), cwd=ROOT), None, began))
        return max(codes)
    return max(codes + side_by_side())


def side_by_side() -> list[int]:
    """Run all lanes at once; the first prints as it goes, the others when they are done. Returns their exit codes."""
    began = time.monotonic()
    running = []
    with contextlib.ExitStack() as files:
        try:
            for number, (name, folders) in enumerate(LANES.items()):
                output = files.enter_context(tempfile.TemporaryFile()) if number else None
                errors = subprocess.STDOUT if output else None
                process = subprocess.Popen(pytest_argv(folders), cwd=ROOT, stdout=output, stderr=errors)
                running.append((name, process, output))
            return [finish(name, process, output, began) for name, process, output in running]
        finally:
            for _, process, _ in running:
                process.wait()  # Ctrl-C: the lanes have had it too, and take their clusters down


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
