"""A Flux instance for the tests of this folder; where Flux or root is missing they are skipped, and say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.flux.clusters import Clusters
from tests.flux.instance import Instance, find_flux
from tests.flux.machines import PREFIX, UID, USER, testhosts
from tests.users import group_of, make_user
from usernetes_deploy.bundle import locate
from usernetes_deploy.commands.common import bundle_cache
from usernetes_deploy.errors import BundleError

MEMBERS = 3
REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder, and skip it where there is nothing to test with."""
    missing = None
    if find_flux() is None:
        missing = "no flux in PATH or /opt/flux"
    elif os.geteuid() != 0:
        missing = "making test hosts needs root"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flux)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End the jobs of a test that failed: further tests would wait for the hosts that these hold."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.failed and report.when == "call" and "instance" in fixtures and "held" not in fixtures:
        fixtures["instance"].cancel_jobs()
    return report


def python_for_the_user() -> str:
    """A Python that the test user may run and that has the dependencies; without one the tests are skipped."""
    for python in filter(None, [os.environ.get("USERNETES_TEST_PYTHON", ""), sys.executable, "/usr/bin/python3"]):
        # By way of a shell: setpriv itself could still enter a directory that is closed to the user.
        become = ["setpriv", f"--reuid={UID}", f"--regid={group_of(UID)}", "--clear-groups"]
        imports = ["sh", "-c", 'exec "$@"', "sh", python, "-c", "import cryptography, invoke, yaml"]
        tried = subprocess.run([*become, *imports], capture_output=True, check=False, cwd="/")
        if tried.returncode == 0:
            return python
    pytest.skip("no Python with the dependencies that the test user may run (set USERNETES_TEST_PYTHON)")


def make_instance(root: Path) -> Instance:
    """Make the hosts ``fl0`` to ``fl3`` and an instance over the first three; the last is the login host."""
    make_user(USER)
    flux = find_flux()
    assert flux
    python = python_for_the_user()
    root.chmod(0o755)
    scripts = root / "bin"
    scripts.mkdir()
    (scripts / "usernetes").write_text(
        f"#!{python}\nimport sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from usernetes_deploy.cli import main\nsys.exit(main())\n"
    )
    for script in (REPOSITORY / "flux-jobs").iterdir():
        shutil.copy(script, root / script.name)
    (scripts / "python").write_text(f'#!/bin/sh\nexport PYTHONPATH={REPOSITORY}\nexec {python} -B "$@"\n')
    for script in scripts.iterdir():
        script.chmod(0o755)
    testhosts("--count", str(MEMBERS + 1), "up")
    names = [f"{PREFIX}{index}" for index in range(MEMBERS + 1)]
    made = Instance(flux, root, names[-1], names[:-1], python, scripts)
    made.start()
    return made


def bundle_for(root: Path) -> Path:
    """A bundle on a path that all hosts see: $USERNETES_TEST_BUNDLE, or a copy of the current one; else a skip."""
    given = os.environ.get("USERNETES_TEST_BUNDLE")
    if given:
        return Path(given)
    try:
        found = locate(None, bundle_cache()).root
    except BundleError as error:
        pytest.skip(f"{error} (or set USERNETES_TEST_BUNDLE)")
    shutil.copytree(found, root / "bundle", dirs_exist_ok=True)
    return root / "bundle"


@pytest.fixture(scope="session")
def clusters(instance: Instance) -> Clusters:
    """What brings up real clusters in jobs of the instance."""
    return Clusters(instance, bundle_for(instance.root))


@pytest.fixture
def verbs(instance: Instance) -> Clusters:
    """The verbs, without a bundle, for what does not get as far as to need one."""
    return Clusters(instance, Path("/var/lib/no bundle"))


@pytest.fixture(scope="session")
def instance() -> Iterator[Instance]:
    """A running instance over three hosts, seen from a fourth that has no broker; no home, no /tmp is shared."""
    testhosts("down")  # these, and all that runs on them, may be there of a run that was killed
    for left in Path("/var/lib").glob("fl-*/usernetes-up.sh"):
        shutil.rmtree(left.parent)
    root = Path(tempfile.mkdtemp(prefix="fl-", dir="/var/lib"))
    made = None
    try:
        made = make_instance(root)
        yield made
    finally:
        if made:
            made.stop()
        testhosts("down")
        shutil.rmtree(root, ignore_errors=True)
