"""netbench plan, run, quick, job, cases, places: thin callers of `netbench.plan` and `netbench.measure`."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from netbench.cases import CASES
from netbench.cases.software import MissingSoftware, find_software
from netbench.measure.campaign import CampaignResult, run_plan
from netbench.plan.document import API_VERSION, STATES, Plan, load_plan, plan_from
from netbench.plan.runs import estimate, known_times, runs_of
from netbench.records.record import SUFFIX
from usernetes_deploy.errors import UsageError

HELP = {
    "plan": "a plan file (YAML); without it, the flags make one",
    "case": "a case, see `netbench cases`; may be given several times",
    "place": "a place, see `netbench places`; may be given several times",
    "nodes": "number of nodes",
    "ranks": "ranks a node",
    "repeats": "runs of each cell at each place",
    "warmups": "runs before them that are not judged",
    "seed": "of the shuffle",
    "time-limit": "seconds for one run",
    "host": "NAME=ADDRESS; may be given several times",
    "launcher": "how hosts are reached: local, ssh, flux or slurm",
    "prefix": "an installation prefix of OSU, MPI or LAMMPS; may be given several times",
    "kubeconfig": "of a running cluster, which is used as it is",
}
LISTS = ("case", "place", "host", "prefix")
# the flags that make a plan, each with its default, which also gives its type
PLAN_FLAGS: Mapping[str, Any] = {
    "plan": "",
    "case": None,
    "place": None,
    "nodes": 0,
    "ranks": 0,
    "repeats": 0,
    "warmups": -1,
    "seed": -1,
    "time_limit": 0,
    "host": None,
    "launcher": "",
    "prefix": None,
    "kubeconfig": "",
}


def of_a_plan(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb` as called with a plan, as seen on the command line with the flags that make one before its own."""

    @functools.wraps(verb)
    def called(_: Context, **flags: Any) -> None:
        verb(_plan({name: flags.pop(name) for name in PLAN_FLAGS}), **flags)

    _, *own = inspect.signature(verb).parameters.values()
    context = inspect.Parameter("_", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    making = [context.replace(name=name, default=default) for name, default in PLAN_FLAGS.items()]
    called.__signature__ = inspect.Signature([context, *making, *own])  # type: ignore[attr-defined]
    return called


@task(
    help={
        **HELP,
        "out": "a campaign's folder: what it holds is not counted, and its times make the estimate",
        "json": "print the plan as JSON",
    },
    iterable=LISTS,
)
@of_a_plan
def plan(made: Plan, out: str = "", json: bool = False) -> None:
    """Print what a plan would run, in order, with a time estimate; run nothing."""
    _print_plan(made, Path(out) if out else None, as_json=json)


@task(
    help={
        **HELP,
        "out": "the campaign's folder; an interrupted campaign goes on",
        "retry": "make failed runs again",
        "deadline": "minutes after which no further run is begun",
        "json": "print the outcome as JSON",
    },
    iterable=LISTS,
)
@of_a_plan
def run(made: Plan, out: str = "netbench-out", retry: bool = False, deadline: int = 0, json: bool = False) -> None:
    """Run a plan, or go on with it; every run leaves a record and its raw output in --out."""
    outcome = _carry_out(made, Path(out), as_json=json, retry=retry, deadline=deadline * 60)
    _leave(outcome.exit_code)


@task(
    help={
        "out": "the campaign's folder, to go on with one (default: a new one below netbench-quick)",
        "repeats": "runs at each place; more of them give narrower intervals",
        "seconds": "no run is begun after so many; 0: no limit",
        "json": "print the outcome as JSON",
    }
)
def quick(_: Context, out: str = "", repeats: int = 10, seconds: int = 60, json: bool = False) -> None:
    """What a short message costs in a pod on this machine, in about half a minute, with a report.

    It brings up a cluster of its own, and takes it down.
    """
    from netbench.plan.quick import TITLE, new_folder, quick_plan, what_next

    folder = Path(out).absolute() if out else new_folder(Path.cwd() / "netbench-quick")
    outcome = _carry_out(quick_plan(repeats), folder, as_json=json, deadline=seconds, report=TITLE)
    say(what_next(repeats))
    if outcome.missing or outcome.interrupted:
        say(f"  netbench quick --repeats {repeats} --out {folder}   goes on with this one")
    # a look that was cut short by its own deadline is still one
    _leave(outcome.exit_code if outcome.failed or outcome.interrupted else 0)


@task(
    help={
        "plan": "a plan file (YAML); without it, the usual comparison on all hosts of the job",
        "out": "the campaign's folder (default: netbench-JOBID)",
        "json": "print the outcome as JSON",
    }
)
def job(_: Context, plan: str = "", out: str = "", json: bool = False) -> None:
    """Inside a Flux or Slurm job: bring up the cluster, run a plan on the job's hosts, write the report."""
    from netbench.plan.quick import job_plan
    from netbench.report import TITLE

    launcher, job_id = job_at_hand(os.environ)
    folder = Path(out or f"netbench-{job_id or 'job'}")
    outcome = _carry_out(load_plan(Path(plan)) if plan else job_plan(launcher), folder, as_json=json, report=TITLE)
    _leave(outcome.exit_code)


def job_at_hand(environment: Mapping[str, str]) -> tuple[str, str]:
    """The launcher for the hosts of the job that we are in, and its id ("" when there is none to see).

    >>> job_at_hand({"SLURM_JOB_ID": "12"}), job_at_hand({"FLUX_URI": "local:///x", "SLURM_JOB_ID": "12"})
    (('slurm', '12'), ('flux', ''))
    """
    flux = environment.get("FLUX_JOB_ID") or environment.get("FLUX_ENCLOSING_ID", "")
    slurm = environment.get("SLURM_JOB_ID", "")
    if slurm and not flux and "FLUX_URI" not in environment:  # a Flux within a Slurm job has hosts of its own
        return "slurm", slurm
    return "flux", flux


def _carry_out(
    plan: Plan, out: Path, *, as_json: bool, retry: bool = False, deadline: float = 0, report: str = ""
) -> CampaignResult:
    """Run `plan` in `out`, with a page titled `report` if that is given, and print what became of it."""
    outcome = run_plan(plan, out, retry=retry, say=say, deadline=deadline or None)
    page = None
    if report and (outcome.done or outcome.resumed or outcome.failed):
        from netbench.report import write_report
        from netbench.report.words import lead

        written = write_report(out / "runs", out, title=report)
        page = written.html
        for sentence in lead(written.study):
            say(sentence)
    print_outcome(outcome, out, as_json=as_json, report=page)
    return outcome


def _leave(code: int) -> None:
    if code:
        raise Exit(code=code)


@task(help={"json": "print as JSON", "prefix": HELP["prefix"]}, iterable=["prefix"])
def cases(_: Context, json: bool = False, prefix: Any = None) -> None:
    """List the cases, their parameters, and which program would run here."""
    from netbench.cases.base import Setup

    software = find_software(Path.home() / ".cache" / "netbench", tuple(prefix or ()))
    rows = []
    for case in CASES.values():
        try:
            if case.family == "osu":
                program = str(software.osu(case.name) or "builtin")
            else:
                ranks = 2
                argv = case.command(Setup(software, 2, ranks, case.defaults)).argv if case.kind != "pod" else ()
                program = argv[0] if argv else "kubectl"
        except MissingSoftware as error:
            program = str(error).replace("\n  fix: ", "; fix: ")
        rows.append({"case": case.name, "parameters": dict(case.defaults), "program": program})
    _print_rows(rows, as_json=json)


@task(help={"json": "print as JSON"})
def places(_: Context, json: bool = False) -> None:
    """List the places, and the state of the cluster that each needs."""
    _print_rows([{"place": place, "cluster": state} for place, state in STATES.items()], as_json=json)


def say(line: str) -> None:
    """Progress goes to standard error."""
    print(line, file=sys.stderr, flush=True)


def print_outcome(outcome: CampaignResult, out: Path, *, as_json: bool, report: Path | None = None) -> None:
    """The result on standard output: counts, every failure by name, and where the records are."""
    if as_json:
        data: dict[str, Any] = {
            "out": str(out),
            "done": len(outcome.done),
            "resumed": len(outcome.resumed),
            "failed": outcome.failed,
            "not_begun": outcome.missing,
            "left_out": outcome.left_out,
            "interrupted": outcome.interrupted,
            "report": str(report) if report else None,
        }
        print(json.dumps(data, indent=1))
        return
    for run_id, reason in outcome.failed.items():
        print(f"failed: {run_id}: {reason}")
    counts = f"{len(outcome.done)} runs made, {len(outcome.resumed)} were there, {len(outcome.failed)} failed"
    print(f"{counts}{f', {outcome.missing} not begun' if outcome.missing else ''}: {out}")
    if report:
        print(f"report: {report}")


def _plan(flags: Mapping[str, Any]) -> Plan:
    """The plan of a file, or of flags alone: mixing both would leave a plan that no file shows."""
    given: dict[str, Any] = {
        "cases": list(flags["case"] or ()),
        "places": list(flags["place"] or ()),
        "nodes": [flags["nodes"]] if flags["nodes"] else [],
        "ranksPerNode": [flags["ranks"]] if flags["ranks"] else [],
        "repeats": flags["repeats"] or None,
        "warmups": flags["warmups"] if flags["warmups"] >= 0 else None,
        "seed": flags["seed"] if flags["seed"] >= 0 else None,
        "timeLimit": flags["time_limit"] or None,
        "hosts": [_host(text) for text in flags["host"] or ()],
        "launcher": flags["launcher"] or None,
        "software": {"prefixes": list(flags["prefix"])} if flags["prefix"] else None,
        "cluster": {"kubeconfig": flags["kubeconfig"]} if flags["kubeconfig"] else None,
    }
    given = {key: value for key, value in given.items() if value not in (None, [])}
    if flags["plan"] and given:
        raise UsageError(f"a plan file and flags ({', '.join(given)}) together; put them into the file")
    if flags["plan"]:
        return load_plan(Path(flags["plan"]))
    if not given.get("cases"):
        raise UsageError("nothing to run: give a plan file, or at least one --case", remedy="netbench cases lists them")
    given.setdefault("places", ["bare-metal"])
    return plan_from({"apiVersion": API_VERSION, "kind": "Benchmark", **given}, "the flags")


def _host(text: str) -> Mapping[str, str]:
    name, _, address = text.partition("=")
    if not address:
        raise UsageError(f"--host: expected NAME=ADDRESS, got {text!r}")
    return {"name": name, "address": address}


def _print_plan(plan: Plan, out: Path | None, *, as_json: bool) -> None:
    runs, left_out = runs_of(plan)
    known = known_times(out) if out else {}
    if out:
        runs = [run for run in runs if not (out / "runs" / run.id / f"{run.id}{SUFFIX}").is_file()]
    seconds = estimate(runs, known)
    if as_json:
        listed = [{"id": run.id, "state": run.state, "parameters": dict(run.parameters)} for run in runs]
        print(json.dumps({"seconds": round(seconds), "left_out": left_out, "runs": listed}, indent=1))
        return
    state = None
    for run in runs:
        if run.state != state:
            state = run.state
            print(f"--- cluster: {state}")
        turn = "warm-up" if run.warmup else f"repeat {run.repeat}"
        print(f"{run.order + 1:5d}  {run.case:14s} {run.place:18s} n{run.node_count} r{run.ranks}  {turn}")
    for reason in left_out:
        print(f"left out: {reason}")
    print(f"{len(runs)} runs, about {seconds / 60:.0f} min (seed {plan.seed}); nothing was run")


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(
            "  ".join(
                f"{' '.join(f'{k}={v}' for k, v in value.items()) if isinstance(value, dict) else value!s:18s}"
                for value in row.values()
            )
        )
