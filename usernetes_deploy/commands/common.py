"""What all verbs share: where things are, which cluster is meant, how results are printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usernetes_deploy import nodezip
from usernetes_deploy.phase import Report
from usernetes_deploy.state import ClusterState, choose, state_root

CLUSTER_HELP = "name of the cluster (default: the only one there is, else $USERNETES_CLUSTER)"


def environment() -> Mapping[str, str]:
    """The process's environment; only commands read it, and hand on what they found."""
    return os.environ


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/usernetes``, or its default under the home directory."""
    base = environment().get("XDG_CACHE_HOME") or f"{environment().get('HOME') or Path.home()}/.cache"
    return Path(base) / "usernetes"


def node_program() -> Path:
    """The node program, made when it is not there."""
    return nodezip.build(cache_root() / "node")


def roots() -> Path:
    """Where the states of this user's clusters lie."""
    return state_root(environment())


def chosen(cluster: str | None) -> ClusterState:
    """The cluster that a verb means."""
    return choose(roots(), cluster, environment())


def report(*, quiet: bool = False) -> Report:
    """Progress on stderr."""
    return Report(sys.stderr, echo=not quiet)


def show(result: Any) -> None:
    """Print a result as JSON on stdout."""
    print(json.dumps(result, indent=2, ensure_ascii=False))


def table(rows: list[list[str]]) -> str:
    """Columns as wide as they need to be, for people.

    >>> print(table([["NAME", "NODES"], ["demo", "3"]]))
    NAME  NODES
    demo  3
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
