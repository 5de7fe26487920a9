"""A Flux instance for the tests of this folder; where Flux or root is missing they are skipped, and say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flux.instance import Instance, find_flux
from tests.flux.machines import (
    LOGIN,
    NETWORK,
    UID,
    make_machine,
    make_network,
    make_user,
    remove_network,
    start_sshd,
)

MEMBERS = 3
REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder, and skip it where there is nothing to test with."""
    missing = None
    if find_flux() is None:
        missing = "no flux in PATH or /opt/flux"
    elif os.geteuid() != 0:
        missing = "making test machines needs root"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flux)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


def python_for_the_user() -> str:
    """A Python that the test user may run and that has the dependencies; without one the tests are skipped."""
    candidates = [os.environ.get("USERNETES_TEST_PYTHON", ""), sys.executable, "/usr/bin/python3"]
    for python in filter(None, candidates):
        argv = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", python, "-c"]
        tried = subprocess.run([*argv, "import cryptography, invoke, yaml"], capture_output=True, check=False, cwd="/")
        if tried.returncode == 0:
            return python
    pytest.skip("no Python with the dependencies that the test user may run (set USERNETES_TEST_PYTHON)")


@pytest.fixture(scope="session")
def instance() -> Iterator[Instance]:
    """A running instance over three machines, seen from a fourth that has no broker; no directory is shared."""
    make_user()
    flux = find_flux()
    assert flux
    python = python_for_the_user()
    root = Path(tempfile.mkdtemp(prefix="fl-", dir="/var/lib"))
    root.chmod(0o755)
    names = [*(f"fl{rank}" for rank in range(MEMBERS)), LOGIN]
    hosts = [f"{NETWORK}.{10 + index} {name}" for index, name in enumerate(names)]
    (root / "hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts]) + "\n")
    remote_shell = f"exec ssh -i {root}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q"
    (root / "ssh").write_text(f'#!/bin/sh\n{remote_shell} "$@"\n')
    (root / "ssh").chmod(0o755)
    make_network(names)
    machines = [make_machine(root, name, index, own_home=True) for index, name in enumerate(names)]
    servers = [start_sshd(machine, root) for machine in machines]
    made = Instance(flux, root, machines[-1], machines[:-1], python)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        for server in servers:
            server.terminate()
            server.wait()
        for machine in machines:
            machine.holder.kill()
            machine.holder.wait()
        remove_network(names)
        shutil.rmtree(root, ignore_errors=True)
