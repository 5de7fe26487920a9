"""Background work: what fails is said, shown and tried again, and no thread ends unseen."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from usernetes_deploy import threads
from usernetes_deploy.threads import Threads
from usernetes_deploy.waiting import until

PACKAGE = Path(threads.__file__).parent
# Threads whose end somebody waits for, or whose work catches everything itself.
OTHERS = {
    "network/watch.py": 1,  # catches everything
    "node/control.py": 3,  # an answer; `in_netns` and `serving`, which are joined
    "node/keeper.py": 1,  # catches everything
    "node/native.py": 1,  # an answer
    "node/process.py": 1,  # a component: catches everything
    "node/supervisor.py": 1,  # images: catches everything
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting in tests."""
    monkeypatch.setattr(threads, "FIRST_PAUSE", 0.01)


def test_work_that_fails_is_said_shown_and_begun_again(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[list[dict[str, object]]] = []
    tries: list[int] = []
    done = threading.Event()
    background = Threads(lambda: seen.append(background.snapshot()))

    def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError(f"no API yet ({len(tries)})")
        done.set()

    background.begin("publishing", work)
    assert done.wait(10)
    until(lambda: len(seen) == 4, 10, "all changes are told")
    assert seen[0] == [{"name": "publishing", "failures": 1, "lastError": "no API yet (1)", "working": False}]
    assert seen[3] == [{"name": "publishing", "failures": 2, "lastError": "no API yet (2)", "working": True}]
    said = capfd.readouterr().err
    assert "publishing: ConnectionError: no API yet (1); again in" in said
    assert "Exception in thread" not in said


def test_work_that_returns_is_over_and_what_never_failed_is_not_listed() -> None:
    background, tries = Threads(), []
    background.begin("once", lambda: tries.append(1))
    until(lambda: tries, 10, "it was done")
    assert background.snapshot() == []
    assert tries == [1]


def test_every_thread_of_a_node_is_supervised_or_known() -> None:
    found = {}
    for path in [*PACKAGE.glob("node/**/*.py"), *PACKAGE.glob("network/**/*.py")]:
        count = len(re.findall(r"\bThread\(", path.read_text()))
        if count:
            found[path.relative_to(PACKAGE).as_posix()] = count
    assert found == OTHERS, "begin it by `usernetes_deploy.threads`, or make sure that its end is seen"
