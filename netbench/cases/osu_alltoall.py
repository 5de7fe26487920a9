"""How long an exchange of blocks between all ranks takes, by block size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_alltoall", own="alltoall", source="collective", guess=3)
