"""Components: started again with backoff, their reasons kept, their logs kept short."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.node import process
from usernetes_deploy.node.process import Component, how_it_ended, tail
from usernetes_deploy.waiting import until


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Component]]:
    """Makes and starts components that are ended with the test."""
    monkeypatch.setattr(process, "FIRST_BACKOFF", 0.01)
    made: list[Component] = []

    def start(script: str, **options: Any) -> Component:
        component = Component("c", [sys.executable, "-c", script], log=tmp_path / "c.log", **options)
        made.append(component)
        component.start()
        return component

    yield start
    for component in made:
        component.stop()


def comes(holds: Callable[[], object]) -> None:
    until(holds, 20, "the component is so", pause=0.02)


def test_a_component_that_is_killed_runs_again_and_says_why(make: Callable[..., Component]) -> None:
    component = make("import time; time.sleep(60)")
    comes(lambda: component.pid)
    first = component.pid
    assert first
    os.kill(first, signal.SIGKILL)
    comes(lambda: component.pid not in (None, first))
    assert component.snapshot()["restarts"] == 1
    assert component.snapshot()["lastExit"] == "killed by SIGKILL"
    assert component.snapshot()["state"] == "running"
    assert component.ready.is_set()


def test_one_that_is_told_to_start_anew_does_and_status_has_the_reason(make: Callable[..., Component]) -> None:
    component = make("import time; time.sleep(60)")
    comes(lambda: component.pid)
    first = component.pid
    component.restart("the address changed")
    comes(lambda: component.pid not in (None, first))
    assert component.snapshot()["lastExit"] == "the address changed"
    os.kill(component.pid or 0, signal.SIGKILL)
    comes(lambda: component.last_exit == "killed by SIGKILL")


def test_one_that_keeps_ending_is_started_less_and_less_often(
    make: Callable[..., Component], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "LONGEST_BACKOFF", 0.2)
    starts: list[float] = []
    component = make("raise SystemExit(3)", prepare=lambda: starts.append(time.monotonic()))
    comes(lambda: len(starts) > 7)
    component.stop()
    comes(lambda: component.state == "stopped")
    assert component.last_exit == "exit code 3"
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(gap >= wanted for gap, wanted in zip(gaps, (0.01, 0.02, 0.04, 0.08, 0.16, 0.2, 0.2), strict=False))


def test_one_that_cannot_be_prepared_tells_the_reason_and_is_tried_again(make: Callable[..., Component]) -> None:
    tries: list[int] = []

    def prepare() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("the API is not ready")

    component = make("import time; time.sleep(60)", prepare=prepare)
    comes(lambda: component.state == "running")
    assert component.last_exit == "the API is not ready"
    assert component.restarts == 2


def test_a_program_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = Component("c", ["/no/such/program", "-x"], log=tmp_path / "c.log")
    component.start()
    comes(lambda: component.last_exit)
    component.stop()
    assert component.last_exit == "/no/such/program -x: No such file or directory"


def test_what_stdin_returns_reaches_the_process_and_never_its_command_line(
    make: Callable[..., Component], tmp_path: Path
) -> None:
    component = make(
        "import sys, time; print(sys.stdin.read()[::-1], flush=True); time.sleep(60)", stdin=lambda: b"key"
    )
    comes(lambda: "yek" in tail(tmp_path / "c.log"))
    assert b"key" not in Path(f"/proc/{component.pid}/cmdline").read_bytes()


def test_it_counts_as_ready_only_when_started_has_returned(make: Callable[..., Component]) -> None:
    states: list[tuple[str, bool]] = []
    holder: list[Component] = []

    def started(_: object) -> None:
        comes(lambda: holder)
        states.append((holder[0].state, holder[0].ready.is_set()))

    holder.append(make("import time; time.sleep(60)", started=started))
    comes(holder[0].ready.is_set)
    assert states == [("starting", False)]


def test_one_whose_start_fails_is_killed_and_tried_again(make: Callable[..., Component]) -> None:
    pids: list[int] = []

    def started(running: Any) -> None:
        pids.append(running.pid)
        raise RuntimeError("not listening")

    component = make("import time; time.sleep(60)", started=started)
    comes(lambda: len(pids) > 1)
    component.stop()
    assert component.last_exit == "not listening"
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_stop_gives_a_grace_and_then_kills(make: Callable[..., Component], tmp_path: Path) -> None:
    component = make("import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)")
    comes(lambda: "up" in tail(tmp_path / "c.log"))
    component.stop(grace=0.1)
    comes(lambda: component.state == "stopped")


def test_every_change_of_state_is_announced(make: Callable[..., Component]) -> None:
    seen: list[str] = []
    made: list[Component] = []  # empty while its thread is already running
    made.append(make("pass", changed=lambda: seen.extend(component.state for component in made)))
    comes(lambda: "backing off" in seen)


def test_a_long_log_is_cut_and_its_end_kept_while_the_writer_goes_on(
    make: Callable[..., Component], tmp_path: Path
) -> None:
    script = "\n".join(
        [
            "import time",
            "for i in range(1000): print('line', i, flush=True)",
            "while 1: time.sleep(.02); print('more', flush=True)",
        ]
    )
    component = make(script)
    log = tmp_path / "c.log"
    comes(lambda: log.exists() and "more" in log.read_text())
    component.rotate(limit=1000)
    assert log.with_suffix(".log.1").stat().st_size == 1000
    assert "line 0\n" not in log.with_suffix(".log.1").read_text()
    comes(lambda: "more" in log.read_text())
    assert log.read_bytes()[:1] != b"\0"  # opened for appending: no hole where the old text was
    assert log.stat().st_size < 1000


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "c.log").write_text("short")
    Component("c", [], log=tmp_path / "c.log").rotate()
    assert (tmp_path / "c.log").read_text() == "short"
    assert not (tmp_path / "c.log.1").exists()


def test_endings_are_named_as_the_kernel_names_them() -> None:
    assert [how_it_ended(code) for code in (0, 7, -9, -64, -99)] == [
        "exit code 0", "exit code 7", "killed by SIGKILL", "killed by SIGRTMAX", "killed by signal 99",
    ]  # fmt: skip


def test_the_tail_of_no_log_is_nothing(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == []
    (tmp_path / "log").write_bytes(b"a\n\xff\nc\n")
    assert tail(tmp_path / "log", 2) == ["\ufffd", "c"]


def test_a_component_whose_input_cannot_be_made_is_tried_again_and_says_why(
    make: Callable[..., Component], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def words() -> bytes:
        tries.append(len(tries))
        if len(tries) == 1:
            raise ValueError("no configuration yet")
        return b""

    component = make("import time; time.sleep(60)", stdin=words)
    comes(lambda: component.pid)
    assert component.snapshot()["lastExit"] == "no configuration yet"
    assert component.snapshot()["restarts"] == 1


def test_one_that_dies_again_and_again_is_counted_and_tells_its_own_last_words(make: Callable[..., Component]) -> None:
    script = (
        "import sys\n"
        'print(\'E1127 06:00:00.000001       7 run.go:72] "command failed" err="unknown flag: --on"\')\n'
        "print('I1127 06:00:00.000002       7 run.go:73] \"Goodbye\"')\n"
        "sys.exit(1)"
    )
    component = make(script)
    until(lambda: component.deaths >= 3, 20, "the third death")
    found = component.snapshot()
    assert found["lastExit"] == "exit code 1"
    assert found["lastWords"] == '"command failed" err="unknown flag: --on"'


def test_who_is_killed_by_us_or_waits_for_others_does_not_die(make: Callable[..., Component]) -> None:
    def prepare() -> None:
        if len(tries) < 4:
            tries.append(1)
            raise RuntimeError("the API is not ready")

    tries: list[int] = []
    component = make("import time; time.sleep(60)", prepare=prepare)
    until(lambda: component.pid, 20, "it runs")
    first = component.pid
    component.restart("the address changed")
    until(lambda: component.pid not in (None, first), 20, "it runs again")
    assert component.restarts == 5
    assert (component.deaths, component.last_words) == (0, None)


def test_one_that_ends_while_it_is_waited_for_tells_how_it_ended(make: Callable[..., Component]) -> None:
    def started(running: Any) -> None:
        until(lambda: False, 60, "it listens", alive=lambda: running.poll() is None)

    component = make("raise SystemExit('port in use')", started=started)
    until(lambda: component.deaths, 20, "its death")
    assert (component.last_exit, component.last_words) == ("exit code 1", "port in use")


def test_a_component_outlives_whatever_goes_wrong_in_its_thread(
    make: Callable[..., Component], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Component._once
    left = [TypeError("a defect")]

    def once(self: Component) -> str:
        if left:
            raise left.pop()
        return real(self)

    monkeypatch.setattr(Component, "_once", once)
    component = make("import time; time.sleep(60)")
    until(lambda: component.state == "running", 20, "it runs")
    assert component.last_exit == "a defect"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["", "  the last line  ", ""], "the last line"),
        (["Error: unknown flag: --on", "Usage:", "  kube-proxy [flags]"], "Error: unknown flag: --on"),
        (
            ['{"level":"fatal","msg":"discovery failed","error":"listen tcp: address in use"}', "goodbye"],
            '{"level":"fatal","msg":"discovery failed","error":"listen tcp: address in use"}',
        ),
        (["panic: runtime error: index out of range", "", "goroutine 1 [running]:", "main.main()"],
         "panic: runtime error: index out of range"),
        (["time=x level=error msg=one", "time=x level=info msg=stop"], "time=x level=error msg=one"),
        (["x" * 1000], "x" * 400),
    ],
)  # fmt: skip
def test_of_the_last_lines_the_one_that_tells_why_is_chosen(lines: list[str], words: str) -> None:
    assert process.last_words(lines) == words
