"""How long an allreduce of floats takes all ranks, by size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_allreduce", own="allreduce", source="collective", guess=2)
