"""Puts playbooks and job scripts beside the package, under share/usernetes-deploy; the rest is in pyproject.toml."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from setuptools import setup

files: dict[str, list[str]] = defaultdict(list)
for top in ("playbooks", "flux-jobs", "slurm-jobs"):
    for path in sorted(Path(top).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"share/usernetes-deploy/{path.parent.as_posix()}"].append(path.as_posix())

setup(data_files=sorted(files.items()))
