"""The bundle's kubectl, run for the driver itself."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from usernetes_deploy.cluster.proxies import beside
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import CommandFailed, TimedOut


def kubectl(
    state: ClusterState,
    bundle: Path,
    words: Sequence[str],
    *,
    node: str | None = None,
    remedy: str | None = None,
    timeout: float | None = None,
) -> str:
    """What kubectl prints, as the administrator of the cluster `state`; `bundle` is the folder with ``bin/kubectl``.

    Raises `CommandFailed` with kubectl's own words, which `node` and `remedy` become part of, and `TimedOut` after
    `timeout` seconds.

    >>> kubectl(state, Path("/opt/bundle"), ["get", "nodes", "--output=name"])  # doctest: +SKIP
    'node/node0\\n'
    """
    argv = [str(bundle / "bin" / "kubectl"), f"--kubeconfig={state.kubeconfig}", *words]
    env = beside(state, os.environ)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, timeout=timeout)
    except subprocess.TimeoutExpired:
        tried = shlex.join(argv)
        raise TimedOut(f"no answer after {timeout:g} s", node=node, tried=tried, remedy="usernetes status") from None
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr, node=node, remedy=remedy)
    return done.stdout
