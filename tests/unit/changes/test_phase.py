"""The runner, with phases that only write down their calls."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from usernetes_deploy.changes.phase import Report, run
from usernetes_deploy.errors import UsernetesError


@dataclass
class Written:
    """One phase; `raises` is what its `apply` raises, `undo_raises` what its `undo` does."""

    title: str
    calls: list[str]
    raises: BaseException | None = None
    undo_raises: BaseException | None = None
    wanted: bool = True
    seen: list[str] = field(default_factory=list)

    def check(self, context: str) -> bool:
        self.calls.append(f"check {self.title}")
        return self.wanted

    def apply(self, context: str) -> str:
        self.calls.append(f"apply {self.title}")
        self.seen.append(context)
        if self.raises:
            raise self.raises
        return f"{self.title} done"

    def undo(self, context: str) -> None:
        self.calls.append(f"undo {self.title}")
        if self.undo_raises:
            raise self.undo_raises


def report() -> tuple[Report, io.StringIO]:
    stream = io.StringIO()
    return Report(stream), stream


def test_phases_run_in_order_with_the_one_context() -> None:
    calls: list[str] = []
    phases = [Written("a", calls), Written("b", calls)]
    said, stream = report()
    run(phases, "context", said)
    assert calls == ["check a", "apply a", "check b", "apply b"]
    assert [phase.seen for phase in phases] == [["context"], ["context"]]
    assert [line.split()[:3] for line in stream.getvalue().splitlines()] == [["[", "1/2]", "a"], ["[", "2/2]", "b"]]
    assert set(said.seconds) == {"a", "b"}


def test_a_phase_with_nothing_to_do_is_neither_shown_nor_undone() -> None:
    calls: list[str] = []
    said, stream = report()
    with pytest.raises(UsernetesError):
        run([Written("a", calls, wanted=False), Written("b", calls, raises=UsernetesError("no"))], "", said)
    assert calls == ["check a", "check b", "apply b", "undo b"]
    assert "] a" not in stream.getvalue()


@pytest.mark.parametrize("error", [UsernetesError("no"), KeyboardInterrupt(), ValueError("a bug")])
def test_whatever_ends_a_phase_undoes_those_begun_in_reverse_and_goes_on(error: BaseException) -> None:
    calls: list[str] = []
    phases = [Written("a", calls), Written("b", calls), Written("c", calls, raises=error), Written("d", calls)]
    said, stream = report()
    with pytest.raises(type(error)) as caught:
        run(phases, "", said)
    assert caught.value is error
    assert calls[-3:] == ["undo c", "undo b", "undo a"]
    assert "apply d" not in calls
    assert stream.getvalue().splitlines()[-1].endswith("FAILED")


@pytest.mark.parametrize("error", [UsernetesError("stuck"), ValueError("a bug"), KeyboardInterrupt()])
def test_what_cannot_be_undone_is_reported_and_the_others_are_undone(error: BaseException) -> None:
    calls: list[str] = []
    phases = [Written("a", calls), Written("b", calls, undo_raises=error), Written("c", calls, raises=OSError("first"))]
    said, stream = report()
    with pytest.raises(OSError, match="first"):
        run(phases, "", said)
    assert calls[-3:] == ["undo c", "undo b", "undo a"]
    assert "not undone: b" in stream.getvalue()


def test_the_log_has_what_a_quiet_terminal_has_not(tmp_path: Path) -> None:
    stream = io.StringIO()
    said = Report(stream, echo=False)
    with (tmp_path / "log").open("w") as said.log:
        run([Written("a", [])], "", said)
    assert stream.getvalue() == ""
    assert "a done" in (tmp_path / "log").read_text()


def test_a_closed_terminal_does_not_keep_a_phase_from_running() -> None:
    stream = io.StringIO()
    stream.close()
    calls: list[str] = []
    run([Written("a", calls)], "", Report(stream))
    assert calls == ["check a", "apply a"]
