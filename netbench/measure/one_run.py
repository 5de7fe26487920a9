"""Makes one run: looks at the nodes, starts the benchmark, looks again, judges, and hands back the record.

Label and version of a result come from the output, its conditions from `netbench.measure.conditions`.
"""

from __future__ import annotations

import random
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from netbench.cases import CASES
from netbench.cases.base import Case, Command, NotSane, Parsed, Setup
from netbench.cases.lammps import check_energy
from netbench.cases.software import MissingSoftware
from netbench.measure.conditions import (
    Attempt,
    Campaign,
    check_ranks,
    look,
    note_conditions,
    note_hashes,
    note_nodes,
    note_transport,
    sweep,
)
from netbench.places.base import Place, PlaceError
from netbench.places.hosts import own_address
from netbench.places.pod import PodPlace
from netbench.plan.runs import Run
from netbench.records.record import Case as RecordCase
from netbench.records.record import Record, Sanity
from netbench.start.mpi import PATH, Seat, cpus_env, mpi_argv, ranks_seen, transport_env, with_names, write_agent
from netbench.start.process import Ended, end, execute


def run_one(run: Run, campaign: Campaign, folder: Path, get_place: Callable[[], Place]) -> Record:
    """Make `run` with its raw outputs in `folder`; a record in every case, with the reason where there is no figure."""
    attempt = Attempt(run, folder, _blank(run, campaign))
    place: Place | None = None
    try:
        place = get_place()
        seats = list(place.seats())[: run.node_count]
        parsed = _measure(attempt, campaign, place, seats)
        record = replace(
            attempt.record, case=_case(run, parsed), samples=parsed.samples, sanity=Sanity(ok=True), end=_now()
        )
        record = replace(record, notes=(*record.notes, *parsed.notes))
        remember(campaign, run, record)
        place.done()
    except (NotSane, MissingSoftware, PlaceError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        trouble = place.trouble() if place else None
        if trouble and trouble != reason:
            reason = f"{trouble} (the run: {reason})"
        record = replace(attempt.record, sanity=Sanity(ok=False, reason=reason), end=_now())
        if not record.nodes:
            record = replace(record, notes=(*record.notes, "it failed before the nodes could be looked at"))
    raw = tuple(sorted(path.name for path in folder.iterdir() if path.suffix == ".txt"))
    return replace(record, exit_code=attempt.ended.exit_code if attempt.ended else None, raw=raw)


def _measure(attempt: Attempt, campaign: Campaign, place: Place, seats: Sequence[Seat]) -> Parsed:
    run, case = attempt.run, CASES[attempt.run.case]
    setup = Setup(campaign.software, run.node_count, run.ranks, run.parameters)
    attempt.before = look(seats, busy=True)
    note_nodes(attempt, campaign, seats)
    command = case.command(setup)
    note_hashes(attempt, campaign, place.name, seats, command)
    if case.kind == "pod":
        attempt.ended = _start_pods(attempt, place, seats)
    elif case.kind == "pair":
        attempt.ended = _pair(attempt, case, setup, seats)
    else:
        attempt.ended = _mpi(attempt, campaign, command, place, seats)
    attempt.after = look(seats)
    note_conditions(attempt, seats)
    reason = attempt.ended.why(run.time_limit)
    if reason:
        reason = with_names(reason, seats)
        left = sweep(run, seats)
        raise NotSane(f"{reason} (ended what it left behind: {left})" if left else reason)
    parsed = case.parse(attempt.ended.stdout, setup)
    if case.kind == "mpi":
        check_ranks(attempt, seats)
    held_to = campaign.plan.mpi.transport if case.kind == "mpi" else "default"
    note_transport(attempt, case.least_bytes(setup), held_to, silent=case.family in ("noise", "pods"))
    if run.place != "bare-metal":
        check_energy(parsed.samples, campaign.references.get((run.cell, run.node_count, run.ranks)))
    return parsed


def _mpi(attempt: Attempt, campaign: Campaign, command: Command, place: Place, seats: Sequence[Seat]) -> Ended:
    front, run, mpi = place.front, attempt.run, campaign.plan.mpi
    interfaces = {attempt.before[seat.name].interface_of(seat.address) for seat in seats}
    interface = next(iter(interfaces)) if len(interfaces) == 1 else None
    held = cpus_env({host.name: host.cpus for host in campaign.plan.hosts})
    env = {**command.env, **transport_env(mpi.transport, interface), **held, **mpi.env}
    agent = mpiexec = None
    if mpi.launcher in ("hydra", "openmpi"):
        agent = write_agent(attempt.folder / "agent.sh", front.by_ssh(seats) if front else seats)
        mpiexec = campaign.software.mpiexec()
    here = own_address(campaign.plan.hosts[0].address if campaign.plan.hosts else seats[0].address)
    argv = mpi_argv(
        mpi.launcher,
        seats,
        run.ranks,
        command.argv,
        {**env, "NETBENCH_RUN": run.id},
        mpiexec=mpiexec,
        agent=front.agent if front else agent,
        localhost=front.launcher_address() if front else here,
        folder=command.folder,
    )
    launcher = f"mpijob ({mpi.launcher})" if front else mpi.launcher
    attempt.record = replace(attempt.record, argv=tuple(argv), env=env, launcher=launcher)
    if front:
        ended = front.launch(argv, run.time_limit, attempt.folder)
    else:
        ended = execute(argv, run.time_limit, attempt.folder / "stdout.txt", attempt.folder / "stderr.txt")
    attempt.record = replace(attempt.record, affinity=tuple(ranks_seen(ended.stderr)))
    return ended


def _pair(attempt: Attempt, case: Case, setup: Setup, seats: Sequence[Seat]) -> Ended:
    """Server on the second node until the client on the first is done."""
    run = attempt.run
    client, server = seats[0], seats[1]
    port = 20000 + random.randrange(10000)  # noqa: S311 - only has to differ from the run before
    serve = server.argv(_marked(run, case.server(setup, server.address, port)))
    log = attempt.folder / "server.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            serve, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_ready(process, log, str(getattr(case, "ready", "")))
        argv = client.argv(_marked(run, case.client(setup, server.address, port)))
        attempt.record = replace(attempt.record, argv=tuple(argv))
        return execute(argv, run.time_limit, attempt.folder / "stdout.txt", attempt.folder / "stderr.txt")
    finally:
        end(process)
        # the far side of a kubectl exec does not end with it
        sweep(run, [server])


def _start_pods(attempt: Attempt, place: Place, seats: Sequence[Seat]) -> Ended:
    if not isinstance(place, PodPlace):
        raise NotSane("there are no pods at this place")
    started = time.monotonic()
    text = place.start_pods(f"s{attempt.run.order}", [seat.name for seat in seats], attempt.run.time_limit)
    (attempt.folder / "stdout.txt").write_text(text, encoding="utf-8")
    return Ended((), 0, text, "", time.monotonic() - started)


def _wait_ready(process: subprocess.Popen[bytes], log: Path, sign: str, within: float = 15) -> None:
    deadline = time.monotonic() + within
    while sign not in log.read_text(encoding="utf-8", errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise NotSane(f"the server did not become ready: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.05)


def _marked(run: Run, command: Command) -> str:
    return f"exec env NETBENCH_RUN={run.id} PATH={PATH} {shlex.join(command.argv)}"


def remember(campaign: Campaign, run: Run, record: Record) -> None:
    """Keep the first bare-metal run of a cell: the energies of others are compared with it."""
    if run.place == "bare-metal":
        campaign.references.setdefault((run.cell, run.node_count, run.ranks), record)


def _case(run: Run, parsed: Parsed) -> RecordCase:
    case = CASES[run.case]
    return RecordCase(
        parsed.name or case.name, case.family, parsed.tool, parsed.tool_version, parsed.label, dict(run.parameters)
    )


def _blank(run: Run, campaign: Campaign) -> Record:
    """What is known before; a run that fails stays under the name that its sane siblings have."""
    case = CASES[run.case]
    name, tool, label = case.identity(Setup(campaign.software, run.node_count, run.ranks, run.parameters))
    return Record(
        id=run.id,
        campaign=campaign.plan.name,
        case=RecordCase(name, case.family, tool, None, label, dict(run.parameters)),
        place=run.place,
        node_count=run.node_count,
        ranks=run.ranks,
        repeat=max(run.repeat, 0),
        sanity=Sanity(ok=False, reason="was not run"),
        warmup=run.warmup,
        order=run.order,
        interleaved=campaign.plan.repeats_per_visit == 1,
        seed=campaign.plan.seed,
        versions=dict(campaign.versions),
        start=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
