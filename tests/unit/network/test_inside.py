"""How a host's process enters the cluster's network, as far as it can be asked without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network import inside


def test_the_namespaces_of_a_node_are_found_through_rootlesskits_state(tmp_path: Path) -> None:
    (tmp_path / "rk").mkdir()
    (tmp_path / "rk" / "child_pid").write_text("42")
    user, network = inside.node_namespaces(tmp_path)
    assert (str(user), str(network)) == ("/proc/42/ns/user", f"/proc/42/root{tmp_path}/rk/netns")


def test_a_node_that_is_not_running_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsernetesError, match=f"no node is running in {tmp_path}"):
        inside.become(tmp_path, ["true"], "")


def test_a_node_that_has_just_ended_is_named(tmp_path: Path) -> None:
    (tmp_path / "rk").mkdir()
    (tmp_path / "rk" / "child_pid").write_text("999999999")
    with pytest.raises(UsernetesError, match="No such file"):
        inside.become(tmp_path, ["true"], "")


def test_short_names_are_searched_as_in_a_pod() -> None:
    assert "search jobs.svc.example.org svc.example.org example.org" in inside.resolver_text(
        "10.96.0.10", "example.org", "jobs"
    )
