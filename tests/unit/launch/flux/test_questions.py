"""Questions to Flux by flux-python: what goes wrong is said as with the command (both for real: `tests/flux`)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.flux.questions import ByPython

QUESTIONS: dict[str, Callable[[ByPython], object]] = {
    "the resources": ByPython.resources,
    "which brokers are lost": ByPython.offline,
    "the jobs": ByPython.jobs,
    "the attribute rank": lambda ask: ask.attribute("rank"),
    "R of the job 7": lambda ask: ask.job_info(7, "R"),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_question_without_an_answer_is_named(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    broker = SimpleNamespace(rpc=lost, attr_get=lost)
    monkeypatch.setitem(sys.modules, "flux", SimpleNamespace(Flux=lambda _: broker))
    monkeypatch.setitem(sys.modules, "flux.resource", SimpleNamespace(resource_list=lost))
    monkeypatch.setitem(sys.modules, "flux.job", SimpleNamespace(JobList=lost))
    with pytest.raises(UsernetesError, match="No route to host") as caught:
        QUESTIONS[what](ByPython())
    assert what in str(caught.value.tried)
