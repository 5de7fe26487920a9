"""`usernetes init` writes a script and a spec that are right as they are."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from usernetes_deploy.cluster import spec
from usernetes_deploy.commands.init import Site, job_script, queues_of, refuse, spec_text

FLUX = Site(flux=True, queues=("batch", "debug"), hosts=8, cores=48)


def directives(script: str) -> list[str]:
    """What Flux takes from the script."""
    lines = [line.removeprefix("#flux:") for line in script.splitlines() if line.startswith("#flux:")]
    return [word for line in lines for word in shlex.split(line, comments=True)]


def test_the_script_asks_for_what_was_wished() -> None:
    words = directives(job_script(4, "2h", "debug", FLUX.queues))
    assert {"--nodes=4", "--time-limit=2h", "--queue=debug", "--add-file=cluster.yaml"} <= set(words)
    assert "--output=usernetes-{{id}}.out" in words


def test_without_a_wish_the_queues_are_only_named() -> None:
    script = job_script(4, "2h", None, FLUX.queues)
    assert not any(word.startswith("--queue") for word in directives(script))
    assert "batch, debug" in script
    assert "no queues here" in job_script(4, "2h", None, ())


@pytest.mark.parametrize("site", [FLUX, Site(flux=False)])
@pytest.mark.parametrize(("interface", "shared"), [(None, None), ("hsn0", "/p/scratch/me")])
def test_the_spec_is_valid(site: Site, interface: str | None, shared: str | None) -> None:
    loaded = spec.load(yaml.safe_load(spec_text(site, 3, interface, shared)))
    assert loaded.network.interface == interface
    assert loaded.storage.shared == shared
    assert loaded.nodes == (1 if site.flux else 3)  # a job counts its own hosts


def test_what_cannot_be_here_is_refused_all_at_once(tmp_path: Path) -> None:
    said = refuse(FLUX, 9, "night", str(tmp_path / "nowhere"))
    assert said == [
        "--nodes: 9 were asked for, this Flux instance has 8 hosts",
        "--queue: there is no queue night; there are batch, debug",
        f"--shared: {tmp_path}/nowhere is no directory that you can write",
    ]
    assert refuse(FLUX, 8, "debug", str(tmp_path)) == []
    assert refuse(FLUX, 0, None, None) == ["--nodes: expected a whole number >= 1, got 0"]


def test_the_default_queue_comes_first() -> None:
    policy = {"jobspec": {"defaults": {"system": {"queue": "debug"}}}}
    assert queues_of({"queues": {"batch": {}, "debug": {}}, "policy": policy}) == ("debug", "batch")
    assert queues_of({}) == ()
