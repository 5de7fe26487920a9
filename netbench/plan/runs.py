"""From a plan to its list of runs: case x place x nodes x ranks x repeat, places interleaved and shuffled by a seed.

Every repeat is a block that holds each cell once at each place. Within a block the places that share a state of the
cluster (none, mesh, flannel) run together, shuffled; the states come in an order that is reversed from block to block,
so that a drifting machine favours no place. With `repeats_per_visit` a state is kept for several repeats.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from netbench.cases import CASES
from netbench.plan.document import STATES, Plan
from netbench.records.record import load_dir

STATE_CHANGE_SECONDS = 15.0


@dataclass(frozen=True)
class Run:
    """One run to be made: number `order` of all, the `repeat`-th of its cell (0 and less: warm-ups)."""

    order: int
    case: str
    place: str
    node_count: int
    ranks: int
    repeat: int
    parameters: Mapping[str, str]
    time_limit: float
    warmup: bool
    cell: int

    @property
    def id(self) -> str:
        """Names the run's folder and record; the same every time this plan is made."""
        turn = f"w{1 - self.repeat}" if self.warmup else f"{self.repeat:03d}"
        return f"{self.order:05d}-{self.case}-c{self.cell}-n{self.node_count}-r{self.ranks}-{self.place}-{turn}"

    @property
    def state(self) -> str:
        """What the cluster must be for it: none, mesh or flannel."""
        return STATES[self.place]


def runs_of(plan: Plan) -> tuple[list[Run], list[str]]:
    """All runs in the order in which they will be made, and why some cells are left out."""
    cells, left_out = _cells(plan)
    states = list(dict.fromkeys(STATES[place] for cell in cells for place in cell[4]))
    dice = random.Random(plan.seed)  # noqa: S311 - a shuffle that can be repeated, no secret
    dice.shuffle(states)
    runs: list[Run] = []
    for turns in _visits(plan):
        # energies are compared with bare metal's, so its warm-up comes first of all
        order = sorted(states, key=lambda s: s != "none") if turns[0] < 1 else states
        for state, repeat in itertools.product(order, turns):
            jobs = [(cell, place) for cell in cells for place in cell[4] if STATES[place] == state]
            dice.shuffle(jobs)
            for (number, case, node_count, ranks, _, parameters, limit), place in jobs:
                runs.append(
                    Run(len(runs), case, place, node_count, ranks, repeat, parameters, limit, repeat < 1, number)
                )
        states = list(reversed(order))
    return runs, left_out


def _visits(plan: Plan) -> list[range]:
    """The repeats that are made before the cluster's state is changed; 0 and less are warm-ups."""
    step = plan.repeats_per_visit
    if step == 1:
        return [range(turn, turn + 1) for turn in range(1 - plan.warmups, plan.repeats + 1)]
    # one repeat first, so that a campaign that is cut short has seen every state
    later = [range(start, min(start + step, plan.repeats + 1)) for start in range(2, plan.repeats + 1, step)]
    return [range(1 - plan.warmups, 2), *later]


def estimate(runs: Sequence[Run], known: Mapping[tuple[str, int], float] | None = None) -> float:
    """Seconds that `runs` will take, by the cases' guesses, or by `known` times of (case, cell) where there are any."""
    own = sum((known or {}).get((run.case, run.cell), CASES[run.case].seconds(run.parameters) + 1.0) for run in runs)
    changes = sum(1 for a, b in itertools.pairwise(runs) if a.state != b.state)
    return own + STATE_CHANGE_SECONDS * (changes + (bool(runs) and runs[0].state != "none"))


Cell = tuple[int, str, int, int, tuple[str, ...], Mapping[str, str], float]


def _cells(plan: Plan) -> tuple[list[Cell], list[str]]:
    cells: list[Cell] = []
    left_out: list[str] = []
    for number, wanted in enumerate(plan.cases):
        case = CASES[wanted.case]
        parameters = {**case.defaults, **wanted.parameters}
        limit = wanted.time_limit or plan.time_limit
        places = wanted.places or plan.places
        if case.kind == "pod":
            without = [place for place in places if place.startswith("bare-metal")]
            left_out += [f"{case.name} at {place}: there are no pods" for place in without]
            places = tuple(place for place in places if place not in without)
        if case.kind != "mpi":
            by_operator = [place for place in places if place.startswith("mpijob-")]
            left_out += [f"{case.name} at {place}: an MPIJob starts MPI programs only" for place in by_operator]
            places = tuple(place for place in places if place not in by_operator)
        for node_count in wanted.nodes or plan.nodes:
            for each in (wanted.ranks_per_node or plan.ranks_per_node) if case.kind == "mpi" else (0,):
                ranks = node_count * each or 1
                reason = case.refuses(node_count, ranks)
                if reason:
                    left_out.append(f"{case.name} on {node_count} nodes with {ranks} ranks: {reason}")
                elif places:
                    cells.append((number, case.name, node_count, ranks, places, parameters, limit))
    return cells, left_out


def known_times(out: Path) -> dict[tuple[str, int], float]:
    """Seconds that runs of each (case, cell) took in `out`, by the records of those that succeeded."""
    records = {record.id: record for record in load_dir(out)[0] if record.sanity.ok and record.start and record.end}
    spans: dict[tuple[str, int], list[float]] = {}
    for record in records.values():
        found = re.fullmatch(r"\d+-([a-z0-9_]+)-c(\d+)-.*", record.id)
        if found:
            took = datetime.fromisoformat(str(record.end)) - datetime.fromisoformat(str(record.start))
            spans.setdefault((found[1], int(found[2])), []).append(took.total_seconds())
    return {cell: median(times) for cell, times in spans.items()}
