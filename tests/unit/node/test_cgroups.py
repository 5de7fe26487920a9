"""A node's own cgroup, as far as it can be had on folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.node import cgroups


@pytest.mark.parametrize(
    ("limits", "most"),
    [({}, 0), ({"a": "max", "a/b": "max"}, 0), ({"a": "900", "a/b": "max"}, 900), ({"a": "900", "a/b": "100"}, 100)],
)
def test_the_smallest_limit_of_processes_above_a_cgroup_counts(
    limits: dict[str, str], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder, limit in limits.items():
        (tmp_path / folder / "pids.max").write_text(f"{limit}\n")
    assert cgroups.most_pids(tmp_path / "a" / "b") == most
