"""How long a barrier of all ranks takes."""

from __future__ import annotations

from netbench.cases.osu import OsuCase

CASE = OsuCase(
    "osu_barrier", own="barrier", source="collective", guess=0.5, defaults={"iterations": "10000", "warmup": "1000"}
)
