"""Where the published campaign's data is: excerpts in the tests' data, all of it beside the checkout if present."""

from __future__ import annotations

from pathlib import Path

import pytest

EXCERPTS = Path(__file__).parents[2] / "data" / "netbench" / "paper"
OSU = EXCERPTS / "aws" / "experiment" / "final" / "results-osu"
LAMMPS = EXCERPTS / "aws" / "experiment" / "final" / "results-lammps"


def whole() -> Path:
    """The folder with all 400 files, or a visible skip."""
    checkout = Path(__file__).parents[3]
    for parent in (checkout, *checkout.parents):
        found = parent.parent / "shared" / "data" / "paper"
        if (found / "expected.json").is_file():
            return found
    pytest.skip("the published campaign's raw data (../shared/data/paper) is not here")
