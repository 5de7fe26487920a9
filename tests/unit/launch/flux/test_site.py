"""The job script that `usernetes init` writes where Flux is."""

from __future__ import annotations

import shlex

from usernetes_deploy.launch.flux.site import job_files, queues_of
from usernetes_deploy.launch.flux.system import FluxSystem
from usernetes_deploy.launch.site import Site, Wanted

QUEUES = ("batch", "debug")
SITE = Site("Flux", "flux batch", "queue", QUEUES, hosts=dict.fromkeys(QUEUES, 8))


def directives(script: str) -> list[str]:
    """What Flux takes from the script."""
    lines = [line.removeprefix("#flux:") for line in script.splitlines() if line.startswith("#flux:")]
    return [word for line in lines for word in shlex.split(line, comments=True)]


def test_the_script_asks_for_what_was_wished_and_takes_the_spec_along() -> None:
    files = job_files(SITE, Wanted(4, "2h", "debug"), "nodes: 1\n")
    assert files["cluster.yaml"] == "nodes: 1\n"
    words = directives(files["usernetes.sh"])
    assert {"--nodes=4", "--time-limit=2h", "--queue=debug", "--add-file=cluster.yaml"} <= set(words)
    assert "--output=usernetes-{{id}}.out" in words


def test_without_a_wish_the_queues_are_only_named() -> None:
    script = job_files(SITE, Wanted(4, "2h"), "")["usernetes.sh"]
    assert not any(word.startswith("--queue") for word in directives(script))
    assert "batch, debug" in script
    without = Site("Flux", "flux batch", "queue", hosts={"": 8})
    assert "no queues here" in job_files(without, Wanted(4, "2h"), "")["usernetes.sh"]


def test_what_cannot_be_here_is_refused_all_at_once() -> None:
    flux = FluxSystem()
    assert flux.refuse(SITE, Wanted(9, "2h", account="me")) == [
        "--nodes: 9 were asked for, the queue batch has 8 hosts",
        "--account: usernetes knows no accounts of Flux",
    ]
    assert flux.refuse(SITE, Wanted(8, "2h", "night")) == ["--queue: there is no queue night; there are batch, debug"]
    assert flux.refuse(SITE, Wanted(8, "2h", "debug")) == []
    without = Site("Flux", "flux batch", "queue", hosts={"": 8})
    assert flux.refuse(without, Wanted(9, "2h")) == ["--nodes: 9 were asked for, this Flux instance has 8 hosts"]


def test_the_default_queue_comes_first() -> None:
    policy = {"jobspec": {"defaults": {"system": {"queue": "debug"}}}}
    assert queues_of({"queues": {"batch": {}, "debug": {}}, "policy": policy}) == ("debug", "batch")
    assert queues_of({}) == ()
