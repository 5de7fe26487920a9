"""Half the round trip of one message between two nodes, by size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_latency", own="latency", source="pt2pt", guess=2)
