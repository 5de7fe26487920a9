"""What all verbs share: where things are, which cluster is meant, how results are printed."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from invoke.tasks import Task

from usernetes_deploy import __version__
from usernetes_deploy.bundle import Bundle, locate, store
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import administrator
from usernetes_deploy.cluster.state import ClusterState, choose, state_root
from usernetes_deploy.errors import BundleError
from usernetes_deploy.jobs import records, systems
from usernetes_deploy.launch import nodezip

CLUSTER_HELP = (
    "name of the cluster, or the id of its Flux job (default: the only one there is, else $USERNETES_CLUSTER)"
)


NO_SHORT_FORM = frozenset({"queue", "label", "taint", "dry_run"})  # -q is --quiet, -t --time: as everywhere


class Verb(Task[Any]):
    """A verb whose flags leave ``-h`` to help, and some of which have no short form."""

    def arg_opts(self, name: str, default: str, taken_names: set[str]) -> dict[str, Any]:
        """What invoke makes of one argument."""
        taken = {*taken_names, "h", *(name if name in NO_SHORT_FORM else "")}
        return super().arg_opts(name, default, taken)


def environment() -> Mapping[str, str]:
    """The process's environment; only commands read it, and hand on what they found."""
    return os.environ


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/usernetes``, or its default under the home directory."""
    base = environment().get("XDG_CACHE_HOME") or f"{environment().get('HOME') or Path.home()}/.cache"
    return Path(base) / "usernetes"


def bundle_cache() -> Path:
    """Where bundles are: ``$USERNETES_BUNDLE_CACHE`` (a site's, say), or this user's cache."""
    named = environment().get("USERNETES_BUNDLE_CACHE")
    return Path(named) if named else cache_root()


def located(wanted: str | None) -> Bundle:
    """The bundle of a spec: a folder, the start of a digest, or the cache's current one."""
    if wanted is None or "/" in wanted or Path(wanted).exists():
        return locate(Path(wanted) if wanted else None, bundle_cache())
    found = [bundle for bundle in store.bundles(bundle_cache()) if bundle.digest.startswith(wanted)]
    if not found:
        raise BundleError(
            f"no bundle in {bundle_cache()} has a digest that begins {wanted}", remedy="usernetes bundle list"
        )
    return found[0]


def located_if_any(wanted: str | None) -> Bundle | None:
    """As `located`; None where the spec names none and none was made yet."""
    try:
        return located(wanted)
    except BundleError:
        if wanted is not None:
            raise
        return None


def node_program() -> Path:
    """The node program, made when it is not there."""
    return nodezip.build(cache_root() / "node")


def roots() -> Path:
    """Where the states of this user's clusters lie."""
    return state_root(environment())


def chosen(cluster: str | None, *, half_made: bool = False) -> ClusterState:
    """The cluster that a verb means; a job's id means the cluster in that job, `half_made` ones only on demand."""
    if is_job(cluster):
        return records.adopt(roots(), cluster, half_made=half_made)
    state = choose(roots(), cluster, environment())
    administrator.freshen(state)
    return state


def running(cluster: str | None) -> ClusterState:
    """As `chosen`, for a verb that needs the cluster's nodes; raises `UsageError` for a stopped one."""
    state = chosen(cluster)
    state.refuse_stopped()
    return state


def is_job(cluster: str | None) -> TypeGuard[str]:
    """Whether a name is that of a job (or a path of jobs), and of no cluster known here."""
    return bool(
        cluster and systems.names_job(cluster) and ("/" in cluster or not ClusterState(roots(), cluster).exists())
    )


def versions() -> dict[str, Any]:
    """What this is: ``{"usernetes": "0.1.0", "python": "3.11.2", "bundle": DIGEST or None, "components": {...}}``."""
    try:
        found = locate(None, bundle_cache())
        digest, components = found.digest, dict(found.versions)
    except BundleError:
        digest, components = None, {}
    python = platform.python_version()
    return {"usernetes": __version__, "python": python, "bundle": digest, "components": components}


def report(*, quiet: bool = False) -> Report:
    """Progress on stderr."""
    return Report(sys.stderr, echo=not quiet)


def show(result: Any) -> None:
    """Print a result as JSON on stdout."""
    print(json.dumps(result, indent=2, ensure_ascii=False), flush=True)
