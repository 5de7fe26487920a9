"""Unit tests of how a node keeps to its job's part of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import share
from usernetes_deploy.node.share import Share, apply, cores_of, offered


def made_up_host(folder: Path, cpus: dict[int, tuple[int, int]]) -> Path:
    """A host as the kernel describes it: the package and core of each CPU."""
    (folder / "online").write_text(f"0-{len(cpus) - 1}\n")
    for cpu, (package, core) in cpus.items():
        topology = folder / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{package}\n")
        (topology / "core_id").write_text(f"{core}\n")
    return folder


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """A host of two packages, two cores each, two threads each, numbered as most firmware does; what we are held to."""
    places = [(0, 0), (1, 0), (0, 1), (1, 1)] * 2
    monkeypatch.setattr(share, "CPU_FOLDER", made_up_host(tmp_path, dict(enumerate(places))))
    seen: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: seen.append(set(cpus)))
    return seen


def test_cores_are_listed_by_package_with_their_threads(held: list[set[int]]) -> None:
    assert cores_of(share.CPU_FOLDER) == [(0, 4), (2, 6), (1, 5), (3, 7)]
    assert not held


@pytest.mark.parametrize(("cpus", "total", "mine"), [("0-3", 8, {0, 4, 2, 6}), ("7", 8, {7}), ("1-2", 4, {2, 6, 1, 5})])
def test_the_batch_systems_numbers_are_taken_to_the_kernels(
    held: list[set[int]], tmp_path: Path, cpus: str, total: int, mine: set[int]
) -> None:
    assert apply(Share(cpus=cpus, of_cpus=total), config(tmp_path)).job_cpus == 0
    assert held == [mine]


def test_where_nobody_can_say_which_cpus_only_their_number_counts(held: list[set[int]], tmp_path: Path) -> None:
    assert apply(Share(cpus="0-2", of_cpus=16), config(tmp_path)).job_cpus == 3
    assert not held


def test_who_is_held_already_stays_within(
    held: list[set[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    apply(Share(cpus="0-1", of_cpus=8), config(tmp_path))
    assert held == [{0}]


def test_of_the_specs_devices_other_jobs_are_left_out(tmp_path: Path) -> None:
    for name in ("card0", "card1"):
        (tmp_path / name).touch()
    mine = {"name": "gpu", "paths": [f"{tmp_path}/card1"], "count": 1, "each": True}
    said = Share(devices=(mine,), others=(f"{tmp_path}/card0",))
    spec = [
        {"name": "all", "paths": [f"{tmp_path}/card*"], "count": 4},
        {"name": "other", "paths": [f"{tmp_path}/card0"], "count": 1},
        {"name": "vendor", "paths": ["cdi:nvidia.com/gpu=all"], "count": 1},
        {"name": "gpu", "paths": [f"{tmp_path}/card*"], "count": 1},
    ]
    assert [(one["name"], one["paths"]) for one in offered(spec, said)] == [
        ("gpu", [f"{tmp_path}/card1"]),
        ("all", [f"{tmp_path}/card1"]),
        ("vendor", ["cdi:nvidia.com/gpu=1"]),
    ]
    assert offered(spec, Share()) == spec


def test_a_share_that_no_launcher_wrote_is_refused() -> None:
    for text in ("", "[]", '{"cpu": "1"}'):
        with pytest.raises(UsernetesError, match="not understood"):
            Share.from_text(text)
