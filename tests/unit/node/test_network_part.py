"""A node's part in the network: what is applied when nodes come and go, and when hosts get other addresses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.node.made_up import config
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.node import addresses, network_part
from usernetes_deploy.node.network_part import NetworkPart

CONTEXT: Any = None  # the backend below needs none


class Backend:
    """Writes down what it is to apply; `moved` notes the addresses in the configuration."""

    def __init__(self, *, follows: bool = True) -> None:
        self.applied: list[Mapping[str, Any]] = []
        self.follows = follows
        self.lacks: list[tuple[str, str]] = []

    def check(self, part: Mapping[str, Any], _: Any) -> list[tuple[str, str]]:
        return self.lacks

    def apply(self, part: Mapping[str, Any], _: Any) -> None:
        self.applied.append(part)

    def moved(self, part: Mapping[str, Any], own: str, peers: Mapping[str, str]) -> Mapping[str, Any] | None:
        return {**part, "own": own, "at": dict(peers)} if self.follows else None

    def status(self, part: Mapping[str, Any], _: Any) -> Mapping[str, Any]:
        return {"own": part.get("own")}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The backend of the node, whose interface has another address of its network than the node was made with."""
    made = Backend()
    monkeypatch.setattr(network_part, "backend_named", lambda _: made)
    monkeypatch.setattr(addresses, "of_interface", lambda _: ["10.0.0.1", "192.0.2.7"])
    return made


def test_a_worker_that_is_started_again_uses_the_address_that_its_host_has_now(
    tmp_path: Path, backend: Backend
) -> None:
    part = NetworkPart(config(tmp_path, control_plane=False), CONTEXT)
    part.begin()
    assert (part.host_address, part.status()) == ("192.0.2.7", {"own": "192.0.2.7"})


def test_what_a_node_lacks_is_said_with_the_remedy_before_anything_is_made(tmp_path: Path, backend: Backend) -> None:
    backend.lacks = [("/b/helper is missing", "build"), ("/dev/net/tun is not accessible", "playbook")]
    with pytest.raises(
        UsernetesError, match=r"(?s)^/b/helper is missing; /dev/net/tun is not acc.*fix: build; playbook"
    ):
        NetworkPart(config(tmp_path), CONTEXT).begin()
    assert backend.applied == []


@pytest.mark.parametrize("changes", [{"control_plane": True}, {"control_plane": False, "interface": "lo"}])
def test_the_first_node_and_nodes_that_share_a_host_keep_the_address_that_they_were_made_with(
    tmp_path: Path, backend: Backend, changes: dict[str, Any]
) -> None:
    part = NetworkPart(config(tmp_path, **changes), CONTEXT)
    part.begin()
    assert part.host_address == "192.0.2.2"
    assert [list(applied) for applied in backend.applied] == [["backend", "privateKey"]]


def test_peers_that_come_and_go_change_neither_the_key_nor_who_moved(tmp_path: Path, backend: Backend) -> None:
    part = NetworkPart(config(tmp_path), CONTEXT)
    part.begin()
    part.replace({"backend": "mesh", "peers": ["b"]})
    assert backend.applied[-1] == {"backend": "mesh", "peers": ["b"], "privateKey": "the-mesh-key"}
    part.move("192.0.2.9", {"b": "192.0.2.3"})
    part.replace({"backend": "mesh", "peers": ["b", "c"]})
    assert backend.applied[-1] == {
        "backend": "mesh",
        "peers": ["b", "c"],
        "privateKey": "the-mesh-key",
        "own": "192.0.2.9",
        "at": {"b": "192.0.2.3"},
    }
    assert part.host_address == "192.0.2.9"


def test_a_backend_that_cannot_follow_is_left_as_it_is(tmp_path: Path, backend: Backend) -> None:
    backend.follows = False
    part = NetworkPart(config(tmp_path), CONTEXT)
    part.begin()
    assert not part.follows()
    part.move("192.0.2.9", {})
    assert len(backend.applied) == 1
    assert part.host_address == "192.0.2.2"
