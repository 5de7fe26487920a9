"""Every recorded host of tests/data/facts is read and judged as its expected.json says."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy import facts

CASES = Path(__file__).parents[2] / "data" / "facts"


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def result(case: Path) -> dict[str, Any]:
    """What the product makes of a recorded host, as JSON has it."""
    values: dict[str, Any] = json.loads((case / "need.json").read_text())
    need = facts.Need(**{key: _hashable(value) for key, value in values.items()})
    host = facts.read((case / "answer.txt").read_text())
    interface = facts.choose_interface(host, need)
    found = {
        "problems": [
            f"{problem.severity}: {problem.fact}: {problem.what} | {problem.remedy}"
            for problem in facts.judge(host, need, node="node03")
        ],
        "interface": interface if isinstance(interface, str) else dataclasses.asdict(interface),
        "node_dir": dataclasses.asdict(facts.choose_node_dir(host, need)),
        "cgroups_via": host.cgroups.via,
        "outer": host.outer.usable(),
        "facts": dataclasses.asdict(host),
    }
    reread: dict[str, Any] = json.loads(json.dumps(found))
    return reread


@pytest.mark.parametrize("case", sorted(path.parent.name for path in CASES.glob("*/answer.txt")))
def test_a_recorded_host_is_read_and_judged_as_expected(case: str) -> None:
    assert result(CASES / case) == json.loads((CASES / case / "expected.json").read_text())


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        folder = Path(argument)
        (folder / "expected.json").write_text(json.dumps(result(folder), indent=1) + "\n")
