"""A made-up cluster for whatever asks one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.made_up import FakeApi, MadeUp, make_cluster
from usernetes_deploy.cluster.state import ClusterState


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """The only cluster of a user whose home is empty otherwise."""
    for name in ("XDG_CACHE_HOME", "USERNETES_CLUSTER", "USERNETES_BUNDLE_CACHE", "FLUX_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    cluster = make_cluster(tmp_path / "state" / "usernetes")

    def launcher(*_: object) -> Any:
        return cluster.launcher

    for module in ("cluster.status", "cluster.exposure", "commands.access", "commands.images", "commands.inside"):
        monkeypatch.setattr(f"usernetes_deploy.{module}.launcher_from_state", launcher)
    for module in ("access", "images", "inside", "network"):
        monkeypatch.setattr(f"usernetes_deploy.commands.{module}.node_program", lambda: Path("node.pyz"))
    monkeypatch.setattr(ClusterState, "api", lambda *_, **__: FakeApi(cluster.paths))
    return cluster
