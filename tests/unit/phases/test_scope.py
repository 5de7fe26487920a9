"""Where the user's systemd delegates cgroups, a node is started in a scope of its own."""

from __future__ import annotations

from pathlib import Path

from usernetes_deploy.cluster.membership import Place
from usernetes_deploy.phases.start_nodes import scope


def place(*, in_scope: bool) -> Place:
    folder = Path("/var/tmp/usernetes-1000")
    return Place(
        address="192.0.2.5",
        interface="eth0",
        why="carries the default route",
        mtu=1500,
        base=folder,
        node_dir=folder / "a1b2c3d4-2",
        outer="slirp4netns",
        cgroups="delegated" if in_scope else "none",
        manager="/run/user/1000" if in_scope else "",
        nameservers=(),
        mesh_port=20000,
        api_port=None,
    )


def test_a_node_with_a_user_manager_gets_a_delegated_scope_named_after_it() -> None:
    argv = scope(place(in_scope=True), "a1b2c3d4")
    assert argv[0] == "env"
    assert "XDG_RUNTIME_DIR=/run/user/1000" in argv
    assert "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus" in argv
    command = argv.index("systemd-run")
    assert argv[command : command + 3] == ["systemd-run", "--user", "--scope"]
    assert "--unit=usernetes-a1b2c3d4-2" in argv
    assert "--property=Delegate=yes" in argv


def test_a_node_without_one_is_started_as_it_is() -> None:
    assert scope(place(in_scope=False), "a1b2c3d4") == []
