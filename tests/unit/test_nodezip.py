"""The node program: one file, the same bytes each time, that runs on old Pythons without the driver's packages."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from usernetes_deploy import nodezip

# The oldest that can be found; continuous integration names one.
OLD = [os.environ.get("USERNETES_OLD_PYTHON", ""), shutil.which("python3.9"), shutil.which("python3.10")]


def works(python: str | None) -> bool:
    return bool(python) and subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0


def test_the_same_sources_give_the_same_bytes_and_name(tmp_path: Path) -> None:
    assert nodezip.contents() == nodezip.contents()
    first = nodezip.build(tmp_path)
    assert nodezip.build(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_nothing_but_the_standard_library_is_imported() -> None:
    archive = zipfile.ZipFile(BytesIO(nodezip.contents()))
    members = set(archive.namelist())
    for name in members:
        for node in ast.walk(ast.parse(archive.read(name))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for imported in names:
                top = imported.partition(".")[0]
                if top != "usernetes_deploy":
                    assert top in sys.stdlib_module_names, f"{name} imports {imported}"
                else:
                    path = imported.replace(".", "/")
                    assert {f"{path}.py", f"{path}/__init__.py"} & members, f"{name} imports {imported}"


@pytest.mark.parametrize("python", [sys.executable, *filter(works, OLD)])
def test_the_program_runs_by_itself(tmp_path: Path, python: str) -> None:
    program = nodezip.build(tmp_path)
    argv = [python, "-I", "-W", "error", str(program), "status", str(tmp_path / "none")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout) == (0, '{"keeper": null, "node": null, "log": []}\n'), done.stderr
