"""Verbs of this checkout, for benchmarks: not those of another one that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def usernetes(*words: str, stdin: str = "") -> str:
    """What a verb prints; ends the benchmark when it fails."""
    argv = [sys.executable, "-m", "usernetes_deploy.cli", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT, input=stdin)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()
