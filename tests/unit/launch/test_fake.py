"""The fake launcher has to be honest: it is what scale figures stand on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from usernetes_deploy.errors import TimedOut, UsageError, UsernetesError
from usernetes_deploy.launch.base import Completed, Launcher, on_all
from usernetes_deploy.launch.fake import Behaviour, FakeLauncher


def test_it_is_a_launcher_with_an_address_for_each_of_a_thousand_hosts() -> None:
    fake: Launcher = FakeLauncher(1000)
    assert len({host.address for host in fake.hosts()}) == 1000
    assert fake.hosts()[999].address == "172.16.3.231"
    with pytest.raises(UsageError):
        FakeLauncher(0)


def test_a_node_runs_from_start_to_stop() -> None:
    fake = FakeLauncher(2)
    host = fake.hosts()[1]
    program = fake.node_program(host)
    assert json.loads(fake.run(host, [*program, "status"]).stdout) == {"state": "absent"}
    handle = fake.start(host, [*program, "run"], stdin=b"blob")
    assert json.loads(fake.run(host, [*program, "status"]).stdout) == {"state": "running", **handle}
    assert fake.running() == ["node1"]
    fake.run(host, [*program, "stop"])
    assert fake.running() == []
    fake.run(host, [*program, "start"], stdin=b"blob")
    assert fake.running() == ["node1"]


def test_every_call_is_written_down_but_no_secret() -> None:
    fake = FakeLauncher(1)
    fake.start(fake.hosts()[0], ["node", "run"], stdin=b"the key")
    fake.send(fake.hosts()[0], Path("/a"), "/b")
    assert [(call.verb, call.host, call.stdin_bytes) for call in fake.calls] == [
        ("start", "node0", 7),
        ("send", "node0", 0),
    ]
    assert "the key" not in repr(fake.calls)


def test_the_delay_is_real_and_varies_in_a_repeatable_way() -> None:
    slow = Behaviour(delay=0.05, jitter=0.5)
    seconds = []
    for _ in range(2):
        fake = FakeLauncher(4, default=slow, seed=7)
        for host in fake.hosts():
            began = time.monotonic()
            fake.run(host, ["true"])
            assert time.monotonic() - began >= 0.025
        seconds.append([call.seconds for call in fake.calls])
    assert seconds[0] == seconds[1]
    assert len(set(seconds[0])) == 4


def test_dead_slow_failing_and_cut_hosts_are_named_and_do_not_hold_the_rest() -> None:
    fake = FakeLauncher(
        100,
        behaviours={
            "node7": Behaviour(down="No route to host"),
            "node8": Behaviour(hanging=True),
            "node9": Behaviour(delay=5),
            "node10": Behaviour(returncode=1, stderr="disk full"),
        },
    )
    began = time.monotonic()
    outcome = on_all(fake.hosts(), lambda host: fake.run(host, ["true"], timeout=2).check(host.name), deadline=0.3)
    assert time.monotonic() - began < 1
    assert sorted(outcome.failures) == ["node10", "node7", "node8", "node9"]
    assert len(outcome.results) == 96
    fake.close()


def test_a_hanging_host_ends_with_the_callers_time_out() -> None:
    fake = FakeLauncher(1, default=Behaviour(hanging=True))
    with pytest.raises(TimedOut, match=r"node0: true: not done after 0.1 s"):
        fake.run(fake.hosts()[0], ["true"], timeout=0.1)


def test_close_lets_hanging_calls_go() -> None:
    fake = FakeLauncher(1, default=Behaviour(hanging=True))
    threading.Timer(0.05, fake.close).start()
    began = time.monotonic()
    with pytest.raises(TimedOut):
        fake.run(fake.hosts()[0], ["true"], timeout=30)
    assert time.monotonic() - began < 5


def test_a_connection_can_be_cut_in_the_middle() -> None:
    fake = FakeLauncher(1, default=Behaviour(down="Connection reset by peer", cut_after=2))
    host = fake.hosts()[0]
    fake.run(host, ["one"])
    fake.run(host, ["two"])
    with pytest.raises(UsernetesError, match="node0: three: Connection reset by peer"):
        fake.run(host, ["three"])


def test_failures_reach_start_and_send() -> None:
    fake = FakeLauncher(1, default=Behaviour(returncode=1, stderr="No space left on device"))
    with pytest.raises(UsernetesError, match="send /a to /b: No space left"):
        fake.send(fake.hosts()[0], Path("/a"), "/b")
    with pytest.raises(UsernetesError, match="node0: node run: No space left"):
        fake.start(fake.hosts()[0], ["node", "run"], stdin=b"")


def test_answers_can_be_replaced() -> None:
    fake = FakeLauncher(1, answers={"probe": lambda host, argv, stdin: Completed(argv, 0, f"I am {host.name}", "")})
    assert fake.run(fake.hosts()[0], ["sh", "probe"]).stdout == "I am node0"
    assert fake.to_state() == {"launcher": "fake", "count": 1}
