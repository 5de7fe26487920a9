"""Bandwidth of windows of messages in both directions at once, by size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_bibw", own="bibw", source="pt2pt", guess=12, messages=64)
