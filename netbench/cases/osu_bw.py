"""Bandwidth of a window of messages in one direction, by size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_bw", own="bw", source="pt2pt", guess=10, messages=64)
