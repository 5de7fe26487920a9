"""A Slurm for the tests of this folder; where Slurm or root is missing they are skipped, and say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.flux.conftest import bundle_for
from tests.slurm.clusters import Clusters
from tests.slurm.instance import PREFIX, UID, USER, Slurm, find_slurm, testhosts
from tests.users import make_user

MEMBERS = 3
REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder, and skip it where there is nothing to test with."""
    missing = find_slurm() or ("making test hosts needs root" if os.geteuid() else None)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End the jobs of a test that failed: further tests would wait for the hosts that these hold."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.failed and report.when == "call" and "slurm" in fixtures:
        fixtures["slurm"].cancel_jobs()
    return report


def python_for_the_user() -> str:
    """A Python that the test user may run and that has the dependencies; without one the tests are skipped."""
    for python in filter(None, [os.environ.get("USERNETES_TEST_PYTHON", ""), sys.executable, "/usr/bin/python3"]):
        become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sh", "-c", 'exec "$@"', "sh"]
        imports = [python, "-c", "import cryptography, invoke, yaml"]
        if subprocess.run([*become, *imports], capture_output=True, check=False, cwd="/").returncode == 0:
            return python
    pytest.skip("no Python with the dependencies that the test user may run (set USERNETES_TEST_PYTHON)")


def make_slurm(root: Path) -> Slurm:
    """Make the hosts ``sl0`` to ``sl3`` and a Slurm over the first three; the last is the login host."""
    make_user(USER)
    python = python_for_the_user()
    root.chmod(0o755)
    scripts = root / "bin"
    scripts.mkdir()
    (scripts / "usernetes").write_text(
        f"#!{python}\nimport sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from usernetes_deploy.cli import main\nsys.exit(main())\n"
    )
    (scripts / "usernetes").chmod(0o755)
    for script in (REPOSITORY / "slurm-jobs").iterdir():
        shutil.copy(script, root / script.name)
    output = root / "output"
    output.mkdir()
    os.chown(output, UID, UID)
    testhosts("--count", str(MEMBERS + 1), "up")
    names = [f"{PREFIX}{index}" for index in range(MEMBERS + 1)]
    made = Slurm(root, names[-1], names[:-1], scripts)
    made.start()
    return made


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A running Slurm over three hosts, seen from a fourth that has no slurmd; no home, no /tmp is shared."""
    testhosts("down")  # these, and all that runs on them, may be there of a run that was killed
    for left in Path("/var/lib").glob("sl-*/slurm.conf"):
        shutil.rmtree(left.parent)
    root = Path(tempfile.mkdtemp(prefix="sl-", dir="/var/lib"))
    made = None
    try:
        made = make_slurm(root)
        yield made
    finally:
        if made:
            made.stop()
        testhosts("down")
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def clusters(slurm: Slurm) -> Clusters:
    """What brings up real clusters in jobs."""
    return Clusters(slurm, bundle_for(slurm.root))


@pytest.fixture
def verbs(slurm: Slurm) -> Clusters:
    """The verbs, without a bundle, for what does not get as far as to need one."""
    return Clusters(slurm, Path("/var/lib/no bundle"))
