"""The node program: one file, the same bytes each time, that runs on old Pythons without the driver's packages."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.launch import nodezip

# The oldest that can be found; continuous integration names one.
PYENV = Path.home() / ".pyenv" / "versions"
OLD = [
    *sorted(map(str, PYENV.glob("3.9.*/bin/python3.9")))[:1],
    os.environ.get("USERNETES_OLD_PYTHON", ""),
    shutil.which("python3.9"),
    shutil.which("python3.10"),
]


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a node's sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def works(python: str | None) -> bool:
    return bool(python) and subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0


def test_the_same_sources_give_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = nodezip.build(tmp_path)
    assert nodezip.build(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    changed = {**nodezip.sources(), "usernetes_deploy/errors.py": b"# other"}
    monkeypatch.setattr(nodezip, "sources", lambda: changed)
    assert nodezip.build(tmp_path) != first


def test_this_python_takes_the_compiled_modules_and_another_the_sources(tmp_path: Path) -> None:
    members = {"m.py": b"value = 'source'"}
    good = tmp_path / "good.pyz"
    good.write_bytes(nodezip.contents(members))
    foreign = tmp_path / "foreign.pyz"
    with zipfile.ZipFile(good) as there, zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("m.py", there.read("m.py"))
        archive.writestr("m.pyc", b"\0\0\r\n" + there.read("m.pyc")[4:])
    show = "import sys; sys.path.insert(0, sys.argv[1]); import m; print(m.value, m.__file__.rpartition('/')[2])"
    for path, file in ((good, "m.pyc"), (foreign, "m.py")):
        argv = [sys.executable, "-I", "-c", show, str(path)]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == f"source {file}\n"


def test_nothing_but_the_standard_library_is_imported() -> None:
    members = nodezip.sources()
    for name, source in members.items():
        for node in ast.walk(ast.parse(source)):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for imported in names:
                top = imported.partition(".")[0]
                if top != "usernetes_deploy":
                    assert top in sys.stdlib_module_names, f"{name} imports {imported}"
                else:
                    path = imported.replace(".", "/")
                    assert {f"{path}.py", f"{path}/__init__.py"} & set(members), f"{name} imports {imported}"


def test_nothing_newer_than_the_oldest_python_is_used(tmp_path: Path) -> None:
    for name, source in nodezip.sources().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(source)
    argv = [str(Path(sys.executable).with_name("vermin")), "--target=3.9-", "--violations", "--no-tips", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("python", [sys.executable, *filter(works, OLD)])
def test_what_a_node_lacks_is_said_by_every_python(tmp_path: Path, python: str) -> None:
    program = nodezip.build(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from types import SimpleNamespace as N\n"
        "from usernetes_deploy.node import network_part as part\n"
        "part.backend_named = lambda name: N(check=lambda *_: [('/dev/net/tun is not accessible', 'prepare')])\n"
        "part.NetworkPart(N(network={'backend': 'mesh'}, host_address=''), None).begin()\n"
    )
    done = subprocess.run([python, "-I", "-c", code, str(program)], capture_output=True, text=True, check=False)
    assert "UsernetesError: /dev/net/tun is not accessible" in done.stderr


@pytest.mark.parametrize("python", [sys.executable, *filter(works, OLD)])
def test_every_python_starts_finds_tells_of_and_stops_a_node(tmp_path: Path, short: Path, python: str) -> None:
    program = nodezip.build(tmp_path / "program")
    fake = tmp_path / "bin" / "rootlesskit"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    root = short / f"usernetes-{os.getuid()}" / "a-0"

    def node(*words: str, stdin: bytes = b"") -> str:
        argv = [python, "-I", "-W", "error", str(program), *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    blob = config(root, bundle=str(tmp_path), system_cpus=str(min(os.sched_getaffinity(0)))).to_json()
    node("start", f"--directory={root}", stdin=blob)
    try:
        assert json.loads(node("status", "--brief", str(root)))["keeper"]["alive"]
        assert str(root) in node("find", f"--folder={short}")
    finally:
        node("stop", str(root))
    assert not root.exists()


@pytest.mark.parametrize("python", [sys.executable, *filter(works, OLD)])
def test_the_program_runs_by_itself(tmp_path: Path, python: str) -> None:
    program = nodezip.build(tmp_path)
    argv = [python, "-I", "-W", "error", str(program), "status", str(tmp_path / "none")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout) == (0, '{"keeper": null, "node": null, "log": []}\n'), done.stderr
