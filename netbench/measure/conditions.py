"""The conditions of a run, written down from what the nodes themselves say: hashes, limits, counters, affinity.

Nothing is taken from the name of what was asked for: binaries are hashed on every node, the transport is read from the
interfaces' counters, and the affinity is what the ranks reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from netbench.cases.base import Command, NotSane
from netbench.cases.software import Software
from netbench.measure import probe
from netbench.places.base import PlaceError
from netbench.places.reach import on_seats
from netbench.plan.document import Plan
from netbench.plan.runs import Run
from netbench.records.record import Limits, Node, Record, Traffic
from netbench.start.mpi import Seat
from netbench.start.process import Ended


@dataclass
class Campaign:
    """What all runs of a campaign share."""

    plan: Plan
    software: Software
    topology: Mapping[str, str | None] = field(default_factory=dict)
    idle_cost: Mapping[str, float | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: dict[tuple[str, ...], tuple[dict[str, str], dict[str, str]]] = field(default_factory=dict)
    references: dict[tuple[int, int, int], Record] = field(default_factory=dict)


@dataclass
class Attempt:
    """One run while it is being made; what is known so far ends up in the record, whatever happens."""

    run: Run
    folder: Path
    record: Record
    ended: Ended | None = None
    before: dict[str, probe.View] = field(default_factory=dict)
    after: dict[str, probe.View] = field(default_factory=dict)


def look(seats: Sequence[Seat], *, busy: bool = False) -> dict[str, probe.View]:
    return {name: probe.parse(text) for name, text in on_seats(seats, probe.look_script(busy=busy)).items()}


def sweep(run: Run, seats: Sequence[Seat]) -> str:
    """End what the run left on its nodes; what that was, or "" for nothing."""
    try:
        answers = on_seats(seats, probe.sweep_script(run.id))
    except PlaceError:
        return ""
    return ", ".join(
        f"{line.split(maxsplit=2)[2]} on {name}"
        for name, text in answers.items()
        for line in text.splitlines()
        if line.startswith("@left ") and len(line.split()) > 2
    )


def note_hashes(attempt: Attempt, campaign: Campaign, place: str, seats: Sequence[Seat], command: Command) -> None:
    """Hashes of what will run, taken on every node once a place; a node that differs makes the run worthless."""
    files = {**command.binaries, **command.inputs}
    if not files:
        return
    key = (place, *(seat.name for seat in seats), *files.values())
    if key not in campaign.hashes:
        script = probe.hash_script(files.values(), command.env.get("LD_LIBRARY_PATH", ""))
        answers = {name: probe.parse_hashes(text) for name, text in on_seats(seats, script).items()}
        first = answers[seats[0].name]
        for name, (hashed, libraries) in answers.items():
            for path, digest in hashed.items():
                if digest == "missing":
                    ours = Path(path).is_relative_to(campaign.software.scratch)
                    hint = "; give a folder that all hosts share as software.scratch in the plan" if ours else ""
                    raise NotSane(f"benchmark missing: {path} is not on {name}{hint}")
                if digest != first[0].get(path):
                    raise NotSane(f"{path} on {name} is another file than on {seats[0].name}")
            if libraries != first[1]:
                raise NotSane(f"the libraries of the benchmark on {name} are others than on {seats[0].name}")
        campaign.hashes[key] = first
    hashed, libraries = campaign.hashes[key]
    attempt.record = replace(
        attempt.record,
        binaries={name: hashed[path] for name, path in command.binaries.items()}
        | {Path(path).name: digest for path, digest in libraries.items()},
        inputs={name: hashed[path] for name, path in command.inputs.items()},
        notes=(*attempt.record.notes, *command.notes),
    )


def note_nodes(attempt: Attempt, campaign: Campaign, seats: Sequence[Seat]) -> None:
    nodes = []
    for seat in seats:
        view = attempt.before[seat.name]
        cost = campaign.idle_cost.get(seat.name) if attempt.run.state != "none" else None
        state = (view.kernel, view.cpus, view.governor, view.load, view.busy)
        nodes.append(Node(seat.name, *state, cost, campaign.topology.get(seat.name)))
    attempt.record = replace(attempt.record, nodes=tuple(nodes))


def note_conditions(attempt: Attempt, seats: Sequence[Seat]) -> None:
    limits: list[Limits] = []
    traffic: list[Traffic] = []
    for seat in seats:
        before, after = attempt.before[seat.name], attempt.after[seat.name]
        if before.cgroups_seen:
            limits.append(
                Limits(
                    seat.name,
                    before.cpu_cores,
                    before.memory_bytes,
                    before.cpuset,
                    before.throttling,
                    after.throttling,
                )
            )
        shared = [other.address for other in seats].count(seat.address) > 1
        own = {before.interface_of(seat.address), *before.rdma, *(("lo",) if shared else ())}
        for name in sorted(own & before.counters.keys() & after.counters.keys()):
            (rx, tx), (rx_after, tx_after) = before.counters[name], after.counters[name]
            if rx_after != rx or tx_after != tx:
                mtu = before.mtu.get(name, 0)
                traffic.append(Traffic(seat.name, name, mtu, rx, rx_after, tx, tx_after))
    attempt.record = replace(
        attempt.record,
        limits=tuple(limits) if len(limits) == len(seats) else None,
        traffic=tuple(traffic),
    )


def check_ranks(attempt: Attempt, seats: Sequence[Seat]) -> None:
    run, seen = attempt.run, attempt.record.affinity
    numbers = [rank.rank for rank in seen]
    if numbers != list(range(run.ranks)):
        raise NotSane(f"{len(numbers)} of {run.ranks} ranks said where they are: {numbers}")
    each = run.ranks // len(seats)
    asked = [seat.name for seat in seats for _ in range(each)]
    got = [rank.node for rank in seen]
    if got != asked:
        raise NotSane(f"ranks ran on {','.join(got)}, not on {','.join(asked)}")


def note_transport(attempt: Attempt, least: int, held_to: str, *, silent: bool) -> None:
    """What carried the messages: the kind of interface whose counters grew by at least half of what had to be sent."""
    if silent:
        attempt.record = replace(attempt.record, transport="none")
    if least <= 0:
        return
    sent = {"rdma": 0, "tcp": 0, "loopback": 0}
    for entry in attempt.record.traffic:
        kind = "loopback" if entry.interface == "lo" else "tcp"
        if entry.interface in attempt.before[entry.node].rdma:
            kind = "rdma"
        sent[kind] = max(sent[kind], entry.tx_after - entry.tx_before)
    carrier = next((kind for kind in ("rdma", "tcp", "loopback") if sent[kind] >= least / 2), None)
    if carrier == "loopback":
        attempt.record = replace(
            attempt.record, notes=(*attempt.record.notes, "the nodes are one host: messages went over its loopback")
        )
    transport = {"rdma": "rdma", "tcp": "tcp", "loopback": "tcp", None: "shm"}[carrier]
    attempt.record = replace(attempt.record, transport=transport)
    if held_to == "tcp" and transport != "tcp":
        counted = ", ".join(f"{kind} {amount}" for kind, amount in sent.items())
        raise NotSane(f"held to TCP, but at least {least} bytes had to be sent and the counters say {counted}")
