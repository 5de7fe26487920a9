"""flux-python and the `flux` command give the same answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flux.instance import Instance

CODE = """
import dataclasses, json, sys
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.flux.instance import *
from usernetes_deploy.launch.flux.questions import *
instance = Instance()
job = int(sys.argv[1])
def error(call):
    try: call()
    except UsernetesError as error: return type(error).__name__
    return None
for ask in (ByCommand(instance.command), ByPython()):
    print(json.dumps([
        ask.resources(), ask.resources("free"), ask.offline(),
        [dataclasses.asdict(parse_job(entry)) for entry in ask.jobs([job])],
        sorted(entry["id"] for entry in ask.jobs()), ask.jobs([1]),
        ask.attribute("size"), ask.attribute("no-such-attribute"), ask.attribute("security.owner"),
        ask.job_id(sys.argv[2]), ask.job_id(sys.argv[2].replace("ƒ", "f")), ask.job_id(str(job)),
        error(lambda: ask.job_id("no job")), json.loads(ask.job_info(job, "jobspec"))["version"],
        error(lambda: ask.job_info(job, "nothing")), instance.members()[0].host, instance.version() > (0, 1),
    ]))
print(ByPython.usable())
"""


def interpreter(instance: Instance) -> list[str]:
    """A Python that imports flux-python: the test user's with Flux's bindings, or Flux's own."""
    bindings = sorted((Path(instance.flux).resolve().parents[1] / "lib/flux").glob("python3*"))
    if not bindings:
        pytest.skip("this Flux has no flux-python")
    said = ""
    for python in (["env", f"PYTHONPATH={bindings[-1]}", instance.python], ["flux", "python"]):
        tried = instance.run(
            [*python, "-c", "import sys, yaml, flux.job, flux.resource; assert sys.version_info > (3, 11)"]
        )
        if tried.returncode == 0:
            return python
        said = tried.stderr.strip().rpartition("\n")[2]
    pytest.skip(f"no Python here imports flux-python: {said}")


def test_both_ways_give_the_same_answers(instance: Instance) -> None:
    python = interpreter(instance)
    job = instance.ask("flux", "submit", "-N1", "--job-name=ein Job ü", "sleep", "60")
    number = instance.ask("flux", "job", "id", "--to=dec", job)
    instance.ask("flux", "job", "wait-event", job, "start")
    ours = f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})\n"
    try:
        printed = instance.ask(*python, "-B", "-c", ours + CODE, number, job)
    finally:
        instance.ask("flux", "cancel", job)
    by_command, by_python, usable = printed.splitlines()
    assert usable == "True"
    for left, right in zip(json.loads(by_command), json.loads(by_python), strict=True):
        assert left == right
    assert json.loads(by_command)[6] == "3"
    assert json.loads(by_command)[5] == []
