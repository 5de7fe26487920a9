"""Which launcher a spec or a state directory means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.base import Launcher
from usernetes_deploy.launch.flux import FluxLauncher
from usernetes_deploy.launch.local import LocalLauncher
from usernetes_deploy.spec import ClusterSpec


def launcher_for(spec: ClusterSpec, program: Path) -> Launcher:
    """The launcher that a spec asks for; `program` is the node program on this machine."""
    if spec.launcher == "local":
        return LocalLauncher(spec.nodes, program)
    if spec.launcher == "flux":
        return FluxLauncher(program, count=spec.nodes)
    raise UsernetesError(f"launcher {spec.launcher} is not there yet")


def launcher_from_state(state: Mapping[str, Any], program: Path) -> Launcher:
    """The launcher of a recorded cluster, as its `to_state` described it."""
    kind = state.get("launcher")
    if kind == "local":
        return LocalLauncher.from_state(state, program)
    if kind == "flux":
        return FluxLauncher.from_state(state, program)
    raise UsernetesError(f"no launcher is called {kind!r}", tried="read the cluster's state")
