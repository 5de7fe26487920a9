"""One call per host: every outcome is kept, stragglers hold nobody up, Ctrl-C waits for what was begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from usernetes_deploy.errors import NodeFailures, TimedOut, UsernetesError
from usernetes_deploy.launch.base import Host, on_all

HOSTS = [Host(f"n{index}") for index in range(5)]


def test_results_and_failures_are_in_the_hosts_order() -> None:
    def call(host: Host) -> str:
        time.sleep(0.05 if host.name == "n0" else 0)
        if host.name == "n3":
            raise UsernetesError("no", node=host.name)
        return host.name.upper()

    outcome = on_all(HOSTS, call)
    assert list(outcome.results) == ["n0", "n1", "n2", "n4"]
    assert str(outcome.failures["n3"]) == "n3: no"
    with pytest.raises(NodeFailures):
        outcome.check("call")


def test_no_host_is_nothing_to_do() -> None:
    assert on_all([], lambda _: 1).results == {}


def test_a_host_that_is_not_done_in_time_has_failed_and_the_waiting_ones_are_not_begun() -> None:
    begun: list[str] = []
    held = threading.Event()

    def call(host: Host) -> None:
        begun.append(host.name)
        held.wait(5)

    outcome = on_all(HOSTS, call, deadline=0.2, workers=2)
    held.set()
    assert all(isinstance(error, TimedOut) for error in outcome.failures.values())
    assert len(outcome.failures) == 5
    assert sorted(begun) == ["n0", "n1"]


def test_a_straggler_does_not_hold_up_the_end_of_the_process() -> None:
    script = (
        "import time; from usernetes_deploy.launch.base import Host, on_all\n"
        "print(len(on_all([Host('a')], lambda _: time.sleep(30), deadline=0.1).failures))"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=25, check=True)
    assert done.stdout == "1\n"
    assert time.monotonic() - began < 20


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: who started the tests in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_waits_for_the_calls_that_were_begun() -> None:
    begun: list[str] = []
    ended: list[str] = []

    def call(host: Host) -> None:
        begun.append(host.name)
        time.sleep(0.1)
        if host.name == "n0":
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does
        time.sleep(0.4)
        ended.append(host.name)

    with pytest.raises(KeyboardInterrupt):
        on_all(HOSTS, call, workers=3)
    assert sorted(ended) == sorted(begun) == ["n0", "n1", "n2"]
