"""Clusters in Flux jobs: the verb `job`, which job scripts call, and what `up`, `down` and `list` do about jobs."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from usernetes_deploy.changes import bringup, growth
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.state import ClusterState, clusters
from usernetes_deploy.commands.common import located, node_program, report, roots
from usernetes_deploy.console.flags import SPEC_HELP, assigned, number
from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.jobs import flux_jobs
from usernetes_deploy.jobs.losses import Caretaker
from usernetes_deploy.jobs.session import Session, hold_hosts
from usernetes_deploy.launch.flux.instance import Instance
from usernetes_deploy.launch.flux.launcher import FluxLauncher, available


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
    """Be a cluster as long as this Flux job lasts; job scripts call it, on the job's first host.

    What follows the flags is a workflow: it is run when the cluster is ready, with KUBECONFIG set and kubectl in PATH,
    and its exit code becomes the job's.

    Examples:

      usernetes job
      usernetes job --set metrics=true -- ./workflow.sh its arguments
    """
    words: Sequence[str] = tuple(context.config.words or ())
    instance = Instance()
    if join:
        hold_hosts(join, instance, notice, report(quiet=quiet).line)
        return
    parent, this = flux_jobs.own_job(instance)
    with contextlib.suppress(UsernetesError):
        flux_jobs.forget_ended(roots(), parent)  # of jobs that were killed
    document = spec.read(Path(file)) if file else {}
    flags: dict[str, Any] = {"launcher": "flux", "name": document.get("name") or flux_jobs.cluster_name(this)}
    flags |= {"replaceLost": True} if replace_lost else {}
    flags |= assigned(set or ())
    if nodes is not None:
        flags["nodes"] = number("nodes", nodes)
    there = FluxLauncher(node_program(), instance=instance, count=flags.get("nodes")).hosts()
    merged = spec.merge({"nodes": len(there), **document}, flags)
    wanted = spec.load(merged, file or "the command line")
    launcher = FluxLauncher(node_program(), instance=instance, count=wanted.nodes)
    state = ClusterState(roots(), wanted.name)
    bundle = located(wanted.bundle)
    told = report(quiet=quiet)

    def down(keep: Path | None) -> int:
        return bringup.down(state, told, node_program(), keep)

    def publish() -> None:
        with contextlib.suppress(UsernetesError):  # it is published once more when the cluster is ready
            flux_jobs.publish(parent, this, flux_jobs.record_of(state))

    def up() -> Path:
        # Beside the bring-up, for Flux takes its time: with it `down` works from anywhere, whatever happens to us.
        first = threading.Thread(target=publish, daemon=True)
        context = BringUp(spec=wanted, launcher=launcher, state=state, found_bundle=bundle, report=told)
        context.recorded = first.start
        path = bringup.up(context)
        first.join()
        state.write({**state.read(), "phases": told.seconds})
        return path

    session = Session(
        state=state,
        up=up,
        down=down,
        tell=told.line,
        instance=instance,
        grace=grace,
        notice=notice,
        caretaker=caretaker(state, told, replace=wanted.replace_lost),
        logs=logs_folder(logs, wanted.name, roots()),
        path=str(bundle.root / "bin"),
    )
    code = session.run(words)
    if code:
        raise Exit(code=code)


def caretaker(state: ClusterState, told: Report, *, replace: bool) -> Caretaker:
    """What sees to the lost nodes of the cluster of `state`, whose job this process is in."""

    def gone(suspects: Collection[str]) -> Mapping[str, str]:
        document = state.read()
        launcher = FluxLauncher.from_state(document["launcher"], node_program())
        try:
            present = members_of(document).present()
            names = {member.name for member in present}
            lost = {name: why for name, why in launcher.lost().items() if name in names}
            asked = [member for member in present if member.name in suspects and member.name not in lost]
            ended, silent = growth.silence(launcher, asked)
            return {**lost, **{name: why for name, why in ended.items() if name not in silent}}
        finally:
            launcher.close()

    def remove(names: Sequence[str]) -> None:
        growth.remove(state, told, node_program(), names, force=True)

    def add(count: int) -> Sequence[str]:
        launcher = FluxLauncher.from_state(state.read()["launcher"], node_program())
        try:
            job = str(state.read()["launcher"]["job"])
            free = [*launcher.spare_hosts(), *launcher.held_hosts(job)][:count]
            launcher.take(free)
            return growth.add(state, told, launcher, lambda _: free) if free else []
        finally:
            launcher.close()

    return Caretaker(state, gone, remove, add if replace else None, told.line)


def logs_folder(wanted: str | None, name: str, state_root: Path) -> Path | None:
    """Where the nodes' logs go: as wanted, else here, or beside the state where "here" cannot be written."""
    if wanted == "none":
        return None
    if wanted:
        return Path(wanted).absolute()
    here = Path.cwd()
    return (here if os.access(here, os.W_OK) else state_root) / f"usernetes-{name}-logs"


def outside_a_job() -> bool:
    """Whether `up --launcher flux` has to submit a job: this process is in none."""
    return Instance().own_job() is None


def submit(
    wanted: spec.ClusterSpec, name: str | None, time_limit: str | None, queue: str | None, *, wait: bool, quiet: bool
) -> str:
    """Submit a job that is the cluster `wanted`, and wait for it; returns the path of its kubeconfig here.

    Without `wait`: the id of the job.
    """
    told = report(quiet=quiet)
    fields = spec.dump(wanted)
    passed = {key: value for key, value in fields.items() if key not in ("apiVersion", "kind", "launcher", "nodes")}
    if not name:
        passed.pop("name", None)
    arguments = [word for key, value in passed.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    options = [f"--time-limit={time_limit}"] if time_limit else []
    options += [f"--queue={queue}"] if queue else []
    submitted = flux_jobs.submit(wanted.nodes, arguments, options=options)
    told.line(f"job {submitted} was submitted")
    if not wait:
        return submitted
    flux_jobs.follow(submitted, float("inf"), tell=told.line)  # a queue has its own idea of time
    return str(flux_jobs.adopt(roots(), submitted).kubeconfig)


def end_job(state: ClusterState, told: Report, seconds: float = 120) -> bool:
    """End the job that is this cluster, where it has one that was made for it; False when `down` is to stop the nodes.

    The job does what it does before its time limit: the workflow is told, pods end in order, logs are kept.
    """
    launcher = state.read()["launcher"] if state.exists() else {}
    text = str(launcher.get("job", ""))
    of_a_job = launcher.get("launcher") == "flux" and text and (state.directory / flux_jobs.SESSION).exists()
    if not of_a_job or Instance().own_job() == text:  # a job's own `down` stops the nodes, and the job sees that
        return False
    try:
        found = flux_jobs.find(text)
    except UsageError as error:
        told.line(error.reason)  # it has ended
        state.remove()
        return True
    try:
        flux_jobs.ask_to_end(found, int(json.loads(state.read_secret(flux_jobs.SESSION).reveal())["pid"]))
    except CommandFailed:
        told.line(f"what kept the cluster in job {found.job.f58} is gone; the nodes are stopped from here")
        return False
    flux_jobs.wait_ended(found, seconds)
    state.remove()
    told.line(f"job {found.job.f58} has ended, and its cluster with it")
    return True


def withdraw(launcher: Mapping[str, Any]) -> None:
    """Take the record of a cluster that was taken down out of its job; nothing where it has none."""
    if launcher.get("launcher") == "flux" and launcher.get("job"):
        with contextlib.suppress(UsernetesError):  # the job may have ended with its cluster
            found = flux_jobs.find(str(launcher["job"]))
            flux_jobs.withdraw(found.instance, found.job)


def make_room(state: ClusterState, nodes: int, told: Report) -> None:
    """Have a join job hold the hosts that the cluster's own job cannot spare; nothing for other clusters."""
    launcher = state.read()["launcher"]
    if launcher.get("launcher") != "flux" or not launcher.get("job"):
        return
    there = FluxLauncher.from_state(launcher, node_program())
    spare = len(there.spare_hosts()) + len(there.held_hosts(launcher["job"]))
    if spare < nodes:
        flux_jobs.hold_further(flux_jobs.find(launcher["job"]), nodes - spare, told.line)


def give_back(state: ClusterState) -> None:
    """End the join jobs none of whose hosts is a node any more; nothing for clusters that have none."""
    launcher = state.read()["launcher"]
    if launcher.get("launcher") != "flux" or not launcher.get("job"):
        return
    found = flux_jobs.find(str(launcher["job"]))
    members = {str(host["where"]).rpartition("#")[0] for host in launcher["hosts"]}
    for other in flux_jobs.joined(found):
        if flux_jobs.inside(found.instance, other).remote_uri() not in members:
            found.instance.command("job", "kill", "--signal=USR1", str(other.id))


def publish_change(state: ClusterState) -> None:
    """Tell the job of a cluster, and through it every other host, what was changed here; nothing without a session."""
    if (state.directory / flux_jobs.SESSION).exists():
        found = flux_jobs.find(str(state.read()["launcher"]["job"]))
        flux_jobs.publish(found.instance, found.job, flux_jobs.record_of(state))


def with_jobs(root: Path) -> list[ClusterState]:
    """All clusters of the user: those with a state directory here, and those in Flux jobs, which get one."""
    if available():
        try:
            flux_jobs.forget_ended(root)
            known = {state.launcher().get("job") for state in clusters(root)}
            for found in flux_jobs.clusters():
                if found.job.f58 not in known and found.state == "ready":
                    flux_jobs.adopt_found(root, found)
        except UsernetesError as error:
            if any(state.launcher().get("launcher") == "flux" for state in clusters(root)):
                report().line(f"warning: clusters in Flux jobs may be missing: {error}")
    return clusters(root)


TASKS = (job,)
