"""The verb `job`, which job scripts call on the first host of their job."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from usernetes_deploy.changes import bringup
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import located, node_program, report, roots
from usernetes_deploy.console.flags import SPEC_HELP, assigned, number
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.jobs import records, systems
from usernetes_deploy.jobs.caretaking import caretaker_of
from usernetes_deploy.jobs.holding import hold_hosts
from usernetes_deploy.jobs.session import Session


@task(
    iterable=["set"],
    help={
        "file": SPEC_HELP["file"],
        "nodes": "how many of the job's hosts (default: all)",
        "set": SPEC_HELP["set"],
        "grace": "seconds that the workflow and then the pods have to end when the job ends",
        "notice": "seconds before the time limit at which the end begins",
        "replace-lost": "a free host of this job, or of one that joins it, takes the place of a node that is lost",
        "logs": "folder for the nodes' logs at the end (default: usernetes-JOB-logs here, none: do not keep them)",
        "join": "be no cluster: hold this job's hosts for that of another job",
        "quiet": "no progress",
    },
)
def job(
    context: Context,
    file: str | None = None,
    nodes: int | None = None,
    set: list[str] | None = None,  # noqa: A002  the flag's name
    grace: float = 20,
    notice: float = 60,
    replace_lost: bool = False,
    logs: str | None = None,
    join: str | None = None,
    quiet: bool = False,
) -> None:
    """Be a cluster as long as this batch job lasts; job scripts call it, on the job's first host.

    What follows the flags is a workflow: it is run when the cluster is ready, with KUBECONFIG set and kubectl in PATH,
    and its exit code becomes the job's.

    Examples:

      usernetes job
      usernetes job --set metrics=true -- ./workflow.sh its arguments
    """
    words: Sequence[str] = tuple(context.config.words or ())
    told = report(quiet=quiet)
    system, this = systems.own()
    system.check_here()
    if join:
        hold_hosts(system, this, join, notice, told.line)
        return
    with contextlib.suppress(UsernetesError):
        records.forget_ended(roots())  # of jobs that were killed
    document = spec.read(Path(file)) if file else {}
    flags: dict[str, Any] = {"launcher": system.name, "name": document.get("name") or f"job-{this.slug}"}
    flags |= {"replaceLost": True} if replace_lost else {}
    flags |= assigned(set or ())
    if nodes is not None:
        flags["nodes"] = number("nodes", nodes)
    there = system.launcher(node_program(), count=flags.get("nodes")).hosts()
    wanted = spec.load(spec.merge({"nodes": len(there), **document}, flags), file or "the command line")
    launcher = system.launcher(node_program(), count=wanted.nodes)
    state = ClusterState(roots(), wanted.name)
    bundle = located(wanted.bundle)

    def down(keep: Path | None) -> int:
        return bringup.down(state, told, node_program(), keep)

    def publish() -> None:
        with contextlib.suppress(UsernetesError):  # it is published once more when the cluster is ready
            this.publish(records.of_beginning(state))

    def up() -> Path:
        # Beside the bring-up, for a batch system takes its time: with it `down` works from anywhere, whatever happens.
        first = threading.Thread(target=publish, daemon=True)
        context = BringUp(spec=wanted, launcher=launcher, state=state, found_bundle=bundle, report=told)
        context.recorded = first.start
        context.time_left = system.time_left()
        path = bringup.up(context)
        first.join()
        state.write({**state.read(), "phases": told.seconds})
        return path

    session = Session(
        system=system,
        job=this,
        state=state,
        up=up,
        down=down,
        tell=told.line,
        grace=grace,
        notice=notice,
        caretaker=caretaker_of(state, told, node_program(), replace=wanted.replace_lost),
        logs=logs_folder(logs, wanted.name, roots()),
        path=str(bundle.root / "bin"),
    )
    code = session.run(words)
    if code:
        raise Exit(code=code)


def logs_folder(wanted: str | None, name: str, state_root: Path) -> Path | None:
    """Where the nodes' logs go: as wanted, else here, or beside the state where "here" cannot be written."""
    if wanted == "none":
        return None
    if wanted:
        return Path(wanted).absolute()
    here = Path.cwd()
    return (here if os.access(here, os.W_OK) else state_root) / f"usernetes-{name}-logs"


TASKS = (job,)
