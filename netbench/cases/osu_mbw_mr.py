"""Bandwidth and message rate of many pairs of ranks at once, by size."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase("osu_mbw_mr", own="mbw_mr", source="pt2pt", guess=10, messages=64)
