"""How long a broadcast from rank 0 takes all ranks, by size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_bcast", own="bcast", source="collective", guess=2)
