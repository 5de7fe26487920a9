"""docs/security.md says of no item that it is met without a check, and has no check that it does not tell of."""

from __future__ import annotations

import re
from pathlib import Path

from tests.hosts.test_cluster_hardening import CHECKS

ROW = re.compile(r"^\| ([\d.]+(?:[-, ]+[\d.]+)*) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
ELSEWHERE = {"4.2.13"}  # tests/vm


def test_what_is_said_to_be_met_is_what_is_checked() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = ROW.findall(text)
    assert len(rows) > 100
    met = {item for item, result in rows if result.startswith("met") and not result.startswith("met with")}
    assert met - ELSEWHERE == set(CHECKS)
    borrowed = {result.split()[-1] for _, result in rows if result.startswith("met with")}
    assert borrowed <= set(CHECKS)


def test_every_row_says_met_or_why_not() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    for item, result in ROW.findall(text):
        assert re.match(r"(met|not met[: ]|not applicable|yours to decide|see docs/)", result), item
